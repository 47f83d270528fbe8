"""`python -m mmbridge`: the command line, also as torchrun starts it."""

from mmbridge.cli import main

if __name__ == "__main__":
    main()
