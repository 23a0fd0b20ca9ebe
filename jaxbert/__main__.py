import sys

from jaxbert.cli import main

sys.exit(main())
