"""Why a project rests or works, by who has the next move. `aiframe.core.explain` is what is asked from outside."""
