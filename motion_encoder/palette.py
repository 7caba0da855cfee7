"""The colours of all pictures and pages, for light and dark mode: the left side is blue, the right side is orange."""

from collections.abc import Mapping
from types import MappingProxyType

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "page": "#eef1f5", "panel": "#ffffff", "sky": "#f4f7fb", "edge": "#d9dfe8", "text": "#1b2430",
        "muted": "#5c6879", "left": "#1f77d0", "right": "#e8632b", "centre": "#46536a", "grid": "#8b9ab0",
        "shadow": "#33425c", "bar": "#6f8fb3", "empty": "#e9edf3",
    }
)  # fmt: skip
DARK: Mapping[str, str] = MappingProxyType(
    {
        "page": "#0f141b", "panel": "#171e28", "sky": "#1d2633", "edge": "#2a3545", "text": "#e7ecf3",
        "muted": "#93a1b5", "left": "#5aaeff", "right": "#ff8f57", "centre": "#c3cedd", "grid": "#5a6b84",
        "shadow": "#000000", "bar": "#5f7ea3", "empty": "#232d3b",
    }
)  # fmt: skip


def css_colours() -> str:
    """Return CSS that defines each colour as a variable (``--left``, ``--right``, ...), for light and dark mode."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n{dark}"


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
