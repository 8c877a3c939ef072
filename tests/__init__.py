"""Facts about the service's behaviour, through its public face where that can be."""
