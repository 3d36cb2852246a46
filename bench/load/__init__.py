"""Requests at times of their own or one after another, and what became of them: the client's side of a server."""
