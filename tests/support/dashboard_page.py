"""What the dashboard says, read as a person would, and how it says numbers."""

import math

from playwright.sync_api import Page


def fact(page: Page, name: str) -> str:
    """One of the facts below the direction's name."""
    return page.locator(".facts div").filter(has=page.get_by_text(name, exact=True)).locator("dd").inner_text()


def table_of(page: Page, section: str) -> list[list[str]]:
    """The cells of the table that stands beside a section's picture."""
    details = page.locator(f"#{section} details.as-table")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    details.locator("tbody tr").first.wait_for()
    return rows_of(page, f"#{section} details.as-table tbody tr")


def rows_of(page: Page, selector: str) -> list[list[str]]:
    """The cells of table rows."""
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    found: list[list[str]] = page.locator(selector).evaluate_all(cells)
    return found


def decimal(value: float, digits: int) -> str:
    """A number with so many digits behind the point, and a minus sign that is one."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def percent(share: float) -> str:
    """Whole per cent; halves go up."""
    return f"{math.floor(100 * share + 0.5)} %"


def whole(number: int) -> str:
    """A count, with thin spaces."""
    return f"{number:,}".replace(",", "\u202f")
