//! Every rule of writing numbers, as tables.

use super::*;
use proptest::prelude::*;

fn dollars(text: &str) -> Picodollars {
    text.parse().unwrap()
}

#[test]
fn money_has_the_decimals_of_its_size() {
    for (amount, shown) in [
        ("0", "$0.00"),
        ("13.91", "$13.91"),
        ("1", "$1.00"),
        ("0.0144", "$0.0144"),
        ("0.5", "$0.5000"),
        ("0.00009999", "<$0.0001"),
        ("0.0001", "$0.0001"),
        ("0.00000004", "<$0.0001"),
        ("333.984", "$333.98"),
        ("333.985", "$333.99"),
        ("9999.99", "$9,999.99"),
        ("10000.4", "$10,000"),
        ("1234567.89", "$1,234,568"),
        ("-24.1", "−$24.10"),
        ("-0.00000004", "−<$0.0001"),
    ] {
        assert_eq!(money(dollars(amount)), shown, "{amount}");
    }
    assert_eq!(money(Picodollars::MAX), "$1,000,000,000,000");
}

#[test]
fn limits_and_ticks_have_no_needless_decimals() {
    for (amount, shown) in [("500", "$500"), ("0", "$0"), ("2.5", "$2.50"), ("0.25", "$0.2500"), ("12000", "$12,000")] {
        assert_eq!(money_whole(dollars(amount)), shown, "{amount}");
    }
}

#[test]
fn a_column_shares_the_decimals_of_its_largest_amount() {
    let amounts = ["267.76", "0.0144", "0", "0.001"].map(dollars);
    let column = MoneyColumn::of(amounts);
    assert_eq!(amounts.map(|amount| column.text(amount)), ["$267.76", "$0.01", "$0.00", "<$0.01"]);

    let amounts = ["0.0109", "0.00032", "0.0003"].map(dollars);
    let column = MoneyColumn::of(amounts);
    assert_eq!(amounts.map(|amount| column.text(amount)), ["$0.0109", "$0.0003", "$0.0003"]);

    let amounts = ["12000", "3.4", "0.2"].map(dollars);
    let column = MoneyColumn::of(amounts);
    assert_eq!(amounts.map(|amount| column.text(amount)), ["$12,000", "$3", "<$1"]);

    assert_eq!(MoneyColumn::of([]).text(Picodollars::ZERO), "$0.00");
    assert_eq!(MoneyColumn::CALLS.text(dollars("1.5")), "$1.5000");
}

#[test]
fn printed_cost_lines_sum_to_the_printed_total() {
    let lines = ["0.003684", "0.0010752", "0.00963"].map(dollars);
    let (lines, total) = money_lines(&lines);
    assert_eq!(lines, ["$0.003684", "$0.001075", "$0.009630"]);
    assert_eq!(total, "$0.014389");
    // Three thirds of a unit: one of the lines has to show it.
    let (lines, total) = money_lines(&["0.0000004", "0.0000004", "0.0000004"].map(dollars));
    assert_eq!(lines, ["$0.000001", "$0.000000", "$0.000000"]);
    assert_eq!(total, "$0.000001");
    assert_eq!(money_lines(&[]), (vec![], "$0.000000".to_owned()));
}

proptest! {
    #[test]
    fn cost_lines_always_sum_to_their_total(lines in proptest::collection::vec(0_i64..10_000_000_000_000, 0..9)) {
        let lines: Vec<Picodollars> = lines.into_iter().map(|line| Picodollars::new(line.into())).collect();
        let (shown, total) = money_lines(&lines);
        let parse = |text: &str| text.replace(['$', ','], "").parse::<Picodollars>().unwrap();
        prop_assert_eq!(shown.iter().map(|line| parse(line)).sum::<Picodollars>(), parse(&total));
    }

    #[test]
    fn no_number_panics(number in any::<u64>(), value in any::<f64>(), money_value in any::<i64>()) {
        let _ = (count(number), count_exact(number), percent(value), percent_whole(value), price_per_million(number));
        let _ = (duration(Duration::from_micros(number)), uptime(Duration::from_secs(number)));
        let amount = Picodollars::new(i128::from(money_value) * 1_000_000);
        let _ = (money(amount), money_whole(amount), MoneyColumn::of([amount]).text(amount), change(amount, amount));
    }
}

#[test]
fn prices_keep_what_the_list_says() {
    for (price, shown) in [(3_000_000, "$3.00"), (300_000, "$0.30"), (75_000, "$0.075"), (0, "$0.00"), (1, "$0.000001")]
    {
        assert_eq!(price_per_million(price), shown);
    }
}

#[test]
fn counts_are_plain_then_short() {
    for (number, shown) in [
        (0, "0"),
        (999, "999"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (12_400, "12.4k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (407_700, "408k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (1_234_567, "1.2M"),
        (54_300_000, "54.3M"),
        (249_900_000, "250M"),
        (3_100_000_000, "3.1B"),
        (u64::MAX, "18,446,744,073B"),
    ] {
        assert_eq!(count(number), shown, "{number}");
    }
    assert_eq!(count_exact(1_234_567), "1,234,567");
    assert_eq!(counted(1, "request", "requests"), "1 request");
    assert_eq!(counted(1_157, "request", "requests"), "1,157 requests");
}

#[test]
fn percentages_have_one_decimal_and_a_real_minus() {
    for (value, shown) in [
        (31.8, "31.8%"),
        (0.0, "0.0%"),
        (-0.0, "0.0%"),
        (0.42, "0.42%"),
        (0.997, "1.0%"),
        (100.0, "100.0%"),
        (-3.1, "−3.1%"),
        (f64::NAN, "–"),
        (f64::INFINITY, "–"),
    ] {
        assert_eq!(percent(value), shown, "{value}");
    }
    assert_eq!([66.8, -0.3, f64::NAN].map(percent_whole), ["67%", "0%", "–"]);
    assert_eq!(percent(share(1.0, 0.0)), "–");
    assert_eq!(percent(share(1.0, 4.0)), "25.0%");
}

#[test]
fn a_change_is_bad_news_only_over_fifteen_percent() {
    let check = |before: &str, now: &str, text: &str, is_bad: bool| {
        assert_eq!(change(dollars(before), dollars(now)), Some(Change { text: text.to_owned(), is_bad }));
    };
    check("100", "109", "+9%", false);
    check("100", "115", "+15%", false);
    check("100", "143", "+43%", true);
    check("100", "76", "−24%", false);
    check("100", "100", "0%", false);
    check("0", "3", "new", false);
    check("3", "0", "−100%", false);
    assert_eq!(change(Picodollars::ZERO, Picodollars::ZERO), None);
}

#[test]
fn durations_read_as_people_say_them() {
    for (micros, shown) in [
        (0, "0 ms"),
        (400, "0.4 ms"),
        (6_000, "6 ms"),
        (4_400, "4.4 ms"),
        (9_960, "10 ms"),
        (218_000, "218 ms"),
        (910_400, "910 ms"),
        (999_600, "1.0 s"),
        (4_310_000, "4.3 s"),
        (30_000_000, "30.0 s"),
        (59_960_000, "1 min"),
        (72_000_000, "1 min 12 s"),
        (7_200_000_000, "2 h"),
        (7_860_000_000, "2 h 11 min"),
    ] {
        assert_eq!(duration(Duration::from_micros(micros)), shown, "{micros}");
    }
    for (seconds, shown) in
        [(25, "25 s"), (250, "4 min"), (7_800, "2 h 10 min"), (1_051_300, "12 d 4 h"), (86_400, "1 d")]
    {
        assert_eq!(uptime(Duration::from_secs(seconds)), shown);
    }
    assert_eq!(tokens(4_812, 642), "4,812 → 642");
    assert_eq!(tokens(18_400, 1_206), "18.4k → 1,206");
}

#[test]
fn sizes_are_short() {
    for (bytes, expected) in [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1_023, "1,023 bytes"),
        (1_234, "1.2 KiB"),
        (96 << 20, "96 MiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 40, "5120 GiB"),
    ] {
        assert_eq!(size(bytes), expected);
    }
}
