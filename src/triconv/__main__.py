"""``python -m triconv``."""

from triconv.cli.main import main

raise SystemExit(main())
