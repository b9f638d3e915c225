"""A program as a model of Pydantic AI."""
