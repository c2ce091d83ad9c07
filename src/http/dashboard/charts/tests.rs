//! Geometry: what is drawn is what the values say, whatever the values are.

use std::time::Duration;

use askama::Template as _;
use proptest::prelude::*;

use super::*;
use crate::domain::Picodollars;

fn bars<A: Amount>(series: Vec<Vec<A>>, columns: usize) -> Bars<A> {
    Bars {
        id: "c".to_owned(),
        sentence: "A sentence.".to_owned(),
        step: "Day".to_owned(),
        height: 208,
        columns: (1..=columns).map(|day| Column::new(format!("{day} Nov"), format!("{day} Nov 2026"))).collect(),
        series: series
            .into_iter()
            .enumerate()
            .map(|(rank, values)| Series { name: format!("m{rank}"), slot: Slot::of_rank(rank), values })
            .collect(),
        has_sums: true,
    }
}

/// The height that a column takes: from the upper edge of its highest part down to the axis.
fn drawn_height(point: &Point, plot_height: u32) -> f64 {
    point.segments.last().map_or(0.0, |top| f64::from(plot_height) - top.y.get())
}

#[test]
fn the_highest_column_reaches_its_tick_and_others_are_in_proportion() {
    let chart = bars::<u64>(vec![vec![10, 20, 0], vec![30, 0, 0]], 3).draw().unwrap();
    assert_eq!(chart.ticks.iter().map(|tick| tick.text.as_str()).collect::<Vec<_>>(), ["0", "10", "20", "30", "40"]);
    let heights: Vec<f64> = chart.points.iter().map(|point| drawn_height(point, 208)).collect();
    assert!((heights[0] - 200.0).abs() < 0.01 && (heights[1] - 100.0).abs() < 0.01 && heights[2] == 0.0, "{heights:?}");
    assert!((chart.ticks[4].y.get() - TOP).abs() < 0.01);
    assert!(chart.ticks[0].is_base && (chart.ticks[0].y.get() - 208.0).abs() < 0.01);
    assert_eq!(chart.points[0].tip, "1 Nov 2026\n2\tm1\t30\n1\tm0\t10\n\tTotal\t40");
    assert_eq!(chart.table.rows[1], ["2 Nov 2026", "20", "0", "20"]);
    assert_eq!(chart.legend[1].value.as_deref(), Some("30"));
}

proptest! {
    #[test]
    fn parts_sum_to_their_column_and_none_is_negative(
        series in proptest::collection::vec(proptest::collection::vec(0_u64..1_000_000_000_000, 1..12), 1..9),
    ) {
        let columns = series[0].len();
        let sums: Vec<u64> = (0..columns).map(|index| series.iter().map(|part| part.get(index).unwrap_or(&0)).sum()).collect();
        let highest = sums.iter().copied().max().unwrap_or(0);
        let chart = bars(series, columns).draw().unwrap();
        prop_assert!(chart.legend.len() <= SERIES_MAX + 1);
        for (point, sum) in chart.points.iter().zip(sums) {
            let mut lower = 208.0;
            for segment in &point.segments {
                prop_assert!(segment.height.get() > 0.0);
                prop_assert!(segment.y.get() + segment.height.get() <= lower + 0.01, "parts overlap");
                prop_assert!(segment.y.get() >= TOP - 0.01);
                lower = segment.y.get();
            }
            if highest > 0 {
                let tallest = chart.points.iter().map(|point| drawn_height(point, 208)).fold(0.0, f64::max);
                let expected = sum as f64 / highest as f64 * tallest;
                prop_assert!((drawn_height(point, 208) - expected).abs() < 0.5);
            }
        }
    }

    #[test]
    fn any_line_draws_without_a_number_that_is_none(
        values in proptest::collection::vec(proptest::option::of(any::<f64>()), 0..20),
    ) {
        let columns: Vec<Column> = (0..values.len()).map(|hour| Column::new(hour.to_string(), hour.to_string())).collect();
        let chart = LineChart {
            id: "c".to_owned(), sentence: String::new(), step: "Hour".to_owned(), height: 130, columns,
            lines: vec![Line { name: "p50".to_owned(), slot: Slot::of_rank(0), values: values.clone() }],
            text: &|value| format!("{value:.1}"),
        };
        match chart.draw() {
            None => prop_assert!(values.is_empty()),
            Some(chart) => {
                let paths = &chart.paths[0].d;
                prop_assert!(!paths.contains("NaN") && !paths.contains("inf"), "{}", paths);
                for dot in chart.points.iter().flat_map(|point| &point.dots) {
                    prop_assert!((TOP - 0.01..=130.01).contains(&dot.y.get()));
                }
            }
        }
    }

    #[test]
    fn sparks_and_meters_stay_inside_their_box(values in proptest::collection::vec(any::<f64>(), 0..30), percent in any::<f64>()) {
        if let Some(spark) = Spark::new("x", Slot::OTHER, &values) {
            prop_assert!(!spark.line.contains("NaN") && !spark.line.contains("inf"));
        }
        let meter = Meter::budget("x", percent, Some(percent * 2.0)).with_mark(percent);
        for part in [Some(meter.used), meter.forecast, meter.mark].into_iter().flatten() {
            prop_assert!((0.0..=100.0).contains(&part.get()));
        }
    }
}

#[test]
fn nothing_to_draw_is_no_chart() {
    assert!(bars::<u64>(vec![vec![]], 0).draw().is_none());
    assert!(bars::<u64>(vec![], 3).draw().is_none());
    assert!(Spark::new("x", Slot::OTHER, &[]).is_none());
    assert!(Spark::new("x", Slot::OTHER, &[1.0]).is_none());
    assert!(Spark::new("x", Slot::OTHER, &[f64::NAN, 1.0]).is_none());
}

#[test]
fn a_month_of_nothing_still_has_an_axis() {
    let chart = bars::<Picodollars>(vec![vec![Picodollars::ZERO; 30]], 30).draw().unwrap();
    assert!(chart.points.iter().all(|point| point.segments.is_empty()));
    assert_eq!(chart.ticks.first().map(|tick| tick.text.as_str()), Some("$0"));
    assert!(chart.points[0].tip.ends_with("\tTotal\t$0.00"));
    let spark = Spark::new("x", Slot::OTHER, &[0.0, 0.0]).unwrap();
    assert_eq!(spark.line, "M0 24L100 24");
}

#[test]
fn one_column_fills_the_width() {
    let chart = bars::<u64>(vec![vec![7]], 1).draw().unwrap();
    assert_eq!((chart.points[0].hit_x.get(), chart.points[0].hit_width.get()), (0.0, 100.0));
    assert_eq!(chart.labels.len(), 1);
    assert_eq!(chart.labels[0].anchor, "middle");
}

#[test]
fn a_credit_takes_no_height_but_counts_in_the_total() {
    let one = Picodollars::from_dollars(1);
    let chart = bars(vec![vec![one + one + one], vec![-one]], 1).draw().unwrap();
    assert_eq!(chart.points[0].segments.len(), 1);
    assert!(chart.points[0].tip.contains("Total\t$2.00"));
}

#[test]
fn more_than_five_series_become_other_and_keep_the_sum() {
    let chart = bars::<u64>((1..=8).map(|value| vec![value]).collect(), 1).draw().unwrap();
    assert_eq!(chart.legend.len(), 6);
    assert_eq!(chart.legend[5].name, "other");
    assert_eq!(chart.table.rows[0], ["1 Nov 2026", "1", "2", "3", "4", "5", "21", "36"]);
}

#[test]
fn steps_of_the_axis_are_round() {
    let labels = |highest: Picodollars| {
        let chart = bars(vec![vec![highest]], 1).draw().unwrap();
        chart.ticks.iter().map(|tick| tick.text.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(labels("31.6".parse().unwrap()), "$0 $10 $20 $30 $40");
    assert_eq!(labels("100".parse().unwrap()), "$0 $25 $50 $75 $100");
    assert_eq!(labels("0.0007".parse().unwrap()), "$0 $0.0002 $0.0004 $0.0006 $0.0008");
    let chart = bars::<u64>(vec![vec![2]], 1).draw().unwrap();
    assert_eq!(chart.ticks.iter().map(|tick| tick.text.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
}

#[test]
fn the_last_column_is_always_labelled_and_there_are_about_ten() {
    let chart = bars::<u64>(vec![vec![1; 30]], 30).draw().unwrap();
    assert_eq!(chart.labels.len(), 10);
    let last = chart.labels.last().unwrap();
    assert_eq!((last.text.as_str(), last.anchor, last.x.to_string().as_str()), ("30 Nov", "end", "100"));
}

#[test]
fn a_gap_lifts_the_line_and_a_lone_value_is_a_dash() {
    let columns = (0..5).map(|hour| Column::new(format!("{hour}"), format!("{hour}"))).collect();
    let values = vec![Some(1.0), Some(2.0), None, Some(3.0), Some(f64::NAN)];
    let chart = LineChart {
        id: "c".to_owned(),
        sentence: String::new(),
        step: "Hour".to_owned(),
        height: 68,
        columns,
        lines: vec![Line { name: "p50".to_owned(), slot: Slot::of_rank(0), values }],
        text: &|value| format!("{value:.1} s"),
    };
    let chart = chart.draw().unwrap();
    assert_eq!(chart.paths[0].d, "M10 48L30 28M70 8L75 8");
    assert_eq!(chart.points[2].tip, "2\n1\tp50\t–");
    assert_eq!(chart.points.iter().map(|point| point.dots.len()).collect::<Vec<_>>(), [1, 1, 0, 1, 0]);
}

#[test]
fn a_meter_says_its_state() {
    assert_eq!(Meter::budget("x", 60.0, Some(90.0)).tone, "");
    assert_eq!(Meter::budget("x", 60.0, Some(108.0)).tone, "warn");
    assert_eq!(Meter::budget("x", 100.0, None).tone, "bad");
    assert_eq!(Meter::share(100.0, Slot::OTHER).tone, "");
}

#[test]
fn health_is_bad_from_half_of_the_calls_on() {
    assert_eq!(
        [(0, 0), (9, 0), (9, 1), (2, 1), (1, 1)].map(|(calls, failed)| Health::of(calls, failed)),
        [Health::Quiet, Health::Good, Health::Some, Health::Bad, Health::Bad]
    );
}

#[test]
fn names_are_escaped_and_cannot_break_a_tip() {
    let mut bars = bars::<u64>(vec![vec![1]], 1);
    bars.series[0].name = "<img src=x onerror=alert(1)>\n2\tfake\t9".to_owned();
    let html = bars.draw().unwrap().render().unwrap();
    assert!(!html.contains("<img"));
    assert!(html.contains("&#60;img src=x onerror=alert(1)&#62; 2 fake 9"));
}

#[test]
fn bars_of_a_timeline_stay_visible_and_inside() {
    let ms = Duration::from_millis;
    let bar = |start, length, whole| {
        let bar = TimeBar::new(ms(start), ms(length), ms(whole), Phase::Streaming);
        (bar.x.get(), bar.x.get() + bar.width.get())
    };
    assert_eq!(bar(0, 500, 1_000), (0.0, 50.0));
    assert_eq!(bar(1_000, 0, 1_000), (99.5, 100.0));
    assert_eq!(bar(0, 0, 0), (0.0, 0.5));
    assert_eq!(bar(900, 9_000, 1_000), (90.0, 100.0));
}
