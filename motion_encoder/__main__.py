"""``python -m motion_encoder``: the command ``motion-encoder``, for when its script is not on the path."""

import sys

from motion_encoder.command_line import main

sys.exit(main())
