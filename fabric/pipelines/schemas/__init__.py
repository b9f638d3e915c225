"""What an answer has to be: maps of a file and models of users, as one kind of schema."""
