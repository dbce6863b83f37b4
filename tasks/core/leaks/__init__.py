"""Columns that give the target away: found by what they hold, never by their names."""

from tasks.core.leaks.find import find_leaks
from tasks.core.leaks.material import Material, Suspect, View, gather_material

__all__ = ["Material", "Suspect", "View", "find_leaks", "gather_material"]
