"""Secrets taken out of what is said: a text with every known secret replaced by `***`.

What belongs here: finding secrets in text. What does not: which variables hold secrets (`settings.py`), who says it.

An object store's answer may repeat what it was sent: the access key, a token in a URL, a header. Such texts end in
errors, and errors in logs, records and on terminals.
"""

import json
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

from resources.settings import secrets

HIDDEN = "***"
# Signed URLs and headers, whoever signed them.
_SIGNED = re.compile(
    r"""(?ix) ( \b(?: sig | x-amz-(?:signature|credential|security-token) | x-goog-(?:signature|credential) | signature
    | access_token | awsaccesskeyid ) (?: = | %3D ) ) [^&\s"'<>\\]+"""
)
_AUTHORIZATION = re.compile(r"(?i)(\bauthorization\b[\"']?\s*[:=]\s*[\"']?)[^\"'\r\n<>]+")
# One of these stands in every text in which a pattern finds something; looking for them is what records can afford.
_SIGNED_MARKS = ("sig", "x-amz-", "x-goog-", "access_token", "awsaccesskeyid")
_USER = re.compile(r"(\w[\w+.-]*://)[^/\s:@\"']+:[^/\s@\"']+@")


def without_secrets(text: str) -> str:
    """The text with the environment's secrets, signatures of URLs and credentials in URLs replaced by `***`."""
    for form in _forms(tuple(secrets())):
        text = text.replace(form, HIDDEN)
    small = text.lower()
    if any(mark in small for mark in _SIGNED_MARKS):
        text = _SIGNED.sub(rf"\1{HIDDEN}", text)
    if "authorization" in small:
        text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
    return _USER.sub(rf"\1{HIDDEN}@", text) if "@" in text and "://" in text else text


@lru_cache(maxsize=8)
def _forms(hidden: tuple[str, ...]) -> list[str]:
    """Every way in which a secret may be written, the longest first: one may be part of another."""
    forms = set()
    for secret in hidden:
        forms |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
        forms |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        # A key in several lines may be quoted line by line.
        forms |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= 16}
    return sorted(forms, key=len, reverse=True)
