"""``python -m mmx``."""

import os
import sys

# python -m puts the working directory first on the path, and its files may be a stranger's.
if not getattr(sys.flags, "safe_path", False) and sys.path[:1] in ([""], [os.getcwd()]):  # noqa: PTH109
    del sys.path[0]

from mmx.cli import main

raise SystemExit(main())
