"""Provisional."""


def concepts(folded: str) -> list[str]:
    """Provisional."""
    return [word for word in ("heroin", "opium") if word in folded.split()]


def concept_token(concept: str) -> str:
    """Provisional."""
    return "zqc" + "".join(letter for letter in concept.lower() if letter.isalnum())


def region_of(text: str) -> str | None:
    """Provisional."""
    return {"surxondaryo": "UZ-SU"}.get(text.lower())


def substance_of(text: str) -> str | None:
    """Provisional."""
    return {"geroin": "heroin"}.get(text.lower(), text.lower())


def unit_of(text: str) -> str | None:
    """Provisional."""
    return {"кг": "kg"}.get(text.lower())


REGIONS = ("UZ-SU",)


def region_name(code: str, lang: str) -> str:
    """Provisional."""
    return code


def substance_name(code: str, lang: str) -> str:
    """Provisional."""
    return code


def centroid(code: str) -> tuple[str, str] | None:
    """Provisional."""
    return None
