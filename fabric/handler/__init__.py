"""What a durable handler is written with."""
