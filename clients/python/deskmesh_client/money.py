"""Amounts of money: the contracts count millionths of a currency's unit, people write units."""

from decimal import Decimal, InvalidOperation

MICROS = 1_000_000
# The most that a budget may allow.
LARGEST_MICROS = 10**15


def micros_of(text: str) -> int:
    """The millionths in an amount such as "12.50". Raises ValueError unless it is exact, not negative and not huge."""
    try:
        micros = Decimal(text) * MICROS
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount") from None
    if not micros.is_finite() or micros < 0 or micros > LARGEST_MICROS:
        raise ValueError(f"{text!r} must lie between 0 and {LARGEST_MICROS // MICROS}")
    if micros != micros.to_integral_value():
        raise ValueError(f"{text!r} has more than six decimal places")
    return int(micros)


def amount_of(micros: int) -> str:
    """The amount in units, with at least two decimal places and as many as it takes: "12.50", "0.000015"."""
    sign = "-" if micros < 0 else ""
    units, rest = divmod(abs(micros), MICROS)
    places = f"{rest:06}".rstrip("0")
    return f"{sign}{units}.{places.ljust(2, '0')}"
