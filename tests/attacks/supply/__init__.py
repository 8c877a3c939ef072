"""What the service is made of, and what it is handed out in."""
