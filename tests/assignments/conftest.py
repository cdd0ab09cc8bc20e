"""Grading: the pytest plugin of the course, for the tests in this folder."""

from tinyqwen.course.plugin import (  # noqa: F401
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_deselected,
    pytest_pyfunc_call,
    pytest_report_teststatus,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    submission,
)
