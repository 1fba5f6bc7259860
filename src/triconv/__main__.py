"""``python -m triconv``."""

from triconv.cli import main

raise SystemExit(main())
