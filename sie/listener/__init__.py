"""HTTP/1.1 and WebSockets for an ASGI app, on Trio's sockets. Nothing here knows what is served."""
