"""Provisional."""

import re


def phones(text: str) -> list[str]:
    """Provisional."""
    return ["+" + re.sub(r"\D", "", one) for one in re.findall(r"\+998[ \d-]{9,14}", text)]


def plates(text: str) -> list[str]:
    """Provisional."""
    return [re.sub(r"\s", "", one).upper() for one in re.findall(r"\b\d\d ?[A-Z] ?\d{3} ?[A-Z]{2}\b", text)]


def phone_key(text: str) -> str | None:
    """Provisional."""
    found = re.sub(r"\D", "", text)
    return "+" + found if 5 <= len(found) <= 15 else None


def plate_key(text: str) -> str | None:
    """Provisional."""
    found = re.sub(r"[^0-9A-Za-z]", "", text).upper()
    return found if 4 <= len(found) <= 12 else None
