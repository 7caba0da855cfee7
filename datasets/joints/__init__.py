"""From the joints, markers or body model of a file to the 17 joints of ``h36m17``."""
