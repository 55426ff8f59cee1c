"""What lies on a connection: proxies on the way to a service, and events as they come."""
