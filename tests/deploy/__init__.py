"""What is handed out: packages, images, manifests, documents, and the proxy before the service."""
