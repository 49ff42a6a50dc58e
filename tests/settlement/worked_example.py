"""The facts of the worked example: three artists, four images, six sales, two periods, in micros and ppb."""

from settlement.allocation import CONTENT
from settlement.money import PPB

RATE = 300_000_000
SPLITS = {
    CONTENT: {"pay-dev": PPB},
    "art-1": {"pay-1": 700_000_000, "pay-2": 300_000_000},
    "art-2": {"pay-2": PPB},
}
SHARES = {
    "img-1": {"C": 609_771_573, "art-1": 299_492_386, "art-2": 90_736_041},
    "img-2": {"C": 688_414_634, "art-1": 311_585_366},
    "img-3": {"C": 774_004_193, "art-2": 0, "art-3": 225_995_807},
    "img-4": {"C": 623_456_790, "art-3": 376_543_210},
}
# sale: image, price, tax, deductions
SALES = {
    "sale-1": ("img-1", 2_380_000, 380_000, 99_999),
    "sale-2": ("img-2", 1_190_000, 190_000, 0),
    "sale-3": ("img-3", 5_950_000, 950_000, 0),
    "sale-4": ("img-4", 3_570_000, 570_000, 0),
    "sale-5": ("img-1", 1_190_000, 190_000, 0),
    "sale-6": ("img-2", 476_000, 76_000, 0),
}
SLICES = {
    "sale-1": 570_000,
    "sale-2": 300_000,
    "sale-3": 1_500_000,
    "sale-4": 900_000,
    "sale-5": 300_000,
    "sale-6": 120_000,
}
# Every line of both periods but the refund's; an artist without a contract stands for the payee.
LINES = {
    "sale-1/C/pay-dev": 347_570,
    "sale-1/art-1/pay-1": 119_498,
    "sale-1/art-1/pay-2": 51_213,
    "sale-1/art-2/pay-2": 51_719,
    "sale-2/C/pay-dev": 206_524,
    "sale-2/art-1/pay-1": 65_433,
    "sale-2/art-1/pay-2": 28_043,
    "sale-3/C/pay-dev": 1_161_006,
    "sale-3/art-3/art-3": 338_994,
    "sale-4/C/pay-dev": 561_111,
    "sale-4/art-3/art-3": 338_889,
    "sale-5/C/pay-dev": 182_931,
    "sale-5/art-1/pay-1": 62_894,
    "sale-5/art-1/pay-2": 26_954,
    "sale-5/art-2/pay-2": 27_221,
    "sale-6/C/pay-dev": 82_610,
    "sale-6/art-1/pay-1": 26_173,
    "sale-6/art-1/pay-2": 11_217,
}
REVERSED = {"sale-2/C/pay-dev": 206_524, "sale-2/art-1/pay-1": 65_433, "sale-2/art-1/pay-2": 28_043}
