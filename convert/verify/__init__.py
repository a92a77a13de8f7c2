"""Cases of the original implementation (docs/cases.md), repeated run by run."""
