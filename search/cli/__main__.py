"""`python -m search.cli` is `stillhouse`."""

from search.cli.main import main

raise SystemExit(main())
