"""How fast aiframe is: ``make bench``. Every number stands beside a reference that is measured in the same run."""
