"""What YAML cannot say of an answer: here that the total is that of the lines."""

from pydantic import BaseModel, model_validator


class Line(BaseModel):
    """One position of an invoice."""

    what: str
    count: int
    price: float


class Body(BaseModel):
    """What is to be paid for."""

    lines: list[Line]
    total: float

    @model_validator(mode="after")
    def adds_up(self) -> "Body":
        """Refuse a total that is another one; the model is told, and asked again."""
        total = sum(line.count * line.price for line in self.lines)
        if total != self.total:
            raise ValueError(f"the lines make {total:g}, and the total is {self.total:g}")
        return self
