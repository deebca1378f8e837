"""Every role of a study on one machine: processes that end together, and the folders they work in."""
