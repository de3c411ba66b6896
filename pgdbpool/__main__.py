"""``python -m pgdbpool`` is the command ``pgdbpool``."""

import sys

from pgdbpool.command.main import main

sys.exit(main())
