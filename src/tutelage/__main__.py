"""`python -m tutelage`, for `accelerate launch -m tutelage run recipe.yaml`."""

from tutelage.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
