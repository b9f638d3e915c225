"""What the model has to answer. An answer that is not so is asked for again, with the reason."""

from pydantic import BaseModel, Field


class ExtractionResult(BaseModel):
    """What is known of a document."""

    title: str = Field(description="The title exactly as it is written.")
    key_points: list[str] = Field(description="What the document says, in a few sentences.")
