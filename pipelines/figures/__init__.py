"""Pictures and pages that show motion."""
