"""From raw parts of a file to one ``MotionSequence`` per person."""
