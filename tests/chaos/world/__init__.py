"""The whole product as processes that an experiment may kill, freeze and cut off from each other."""
