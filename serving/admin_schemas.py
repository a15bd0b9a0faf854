"""What an operator is told."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class VariantName(StrEnum):
    """Which of the bundles."""

    MAIN = "main"
    TRIAL = "trial"


class SwapAnswer(BaseModel):
    """Which bundle took over from which."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    variant: VariantName
    """Main, or the one under trial."""
    model: str
    """The fingerprint of the bundle that answers now."""
    before: str | None = None
    """Of the one that answered until now; it is kept for a rollback."""
    items: int
    """That can be found now."""
