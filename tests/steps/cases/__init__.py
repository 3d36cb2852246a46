"""What is cancelled, and what must hold then: one case for one coroutine, or a few that run as one."""
