"""How quick the service is, how much of that HTTP costs, and what it does when it is asked too much."""
