"""``python -m mmx``."""

from mmx.cli import main

raise SystemExit(main())
