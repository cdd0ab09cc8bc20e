"""An exception that speaks to the terminal, the spreadsheet and the browser."""


class CheckPassed(Exception):
    pass


def silu(x):
    raise CheckPassed(
        "\x1b[2J\x1b]0;owned\x07<script>document.title = 'owned'</script>\r=HYPERLINK(1) \ud800"
        + "x" * 1_000_000
    )
