"""`--follow` as a service: what supervises feeds, says how they are, and gives up on a poison record instead of on a feed."""
