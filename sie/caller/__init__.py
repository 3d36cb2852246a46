"""HTTP/1.1 asked for, on Trio's sockets: connections kept and used again. Nothing here knows what is asked."""
