//! The grammar, statement by statement.

use super::*;

#[test]
fn fields_are_separated_by_one_or_more_spaces_and_trimmed() {
    assert_eq!(canonical("  0   5 * *  * *  "), "0 5 * * * *");
}

#[test]
fn a_tab_is_not_a_separator() {
    assert_eq!(refusal("0\t5 * * * *").reason(), &Reason::NotASpace);
    assert_eq!(refusal("0\t5\t*\t*\t*\t*").reason(), &Reason::NotASpace);
    assert_eq!(refusal("* * * * *\t*").reason(), &Reason::NotASpace);
    assert_eq!(refusal("\t* * * * *").reason(), &Reason::NotASpace);
}

#[test]
fn blanks_around_a_number_are_forgiven_as_by_the_integer_parser() {
    assert_eq!(canonical("0\t 5 * * * 1\n"), "0 5 * * * 1");
    assert_eq!(seconds("*/\t30"), "0,30");
    assert_eq!(seconds_refused("\t5"), Reason::NotASpace);
}

#[test]
fn six_fields_are_second_minute_hour_day_month_and_day_of_week() {
    assert_eq!(
        walls("1 2 3 4 5 6", "2026-01-01T00:00:00", 1),
        ["2030-05-04T03:02:01"]
    );
}

#[test]
fn five_fields_are_without_a_second_which_is_0() {
    assert_eq!(
        walls("2 3 4 5 *", "2026-01-01T00:00:00", 1),
        ["2026-05-04T03:02:00"]
    );
    assert_eq!(
        walls("* * * * *", "2026-01-01T00:00:00", 2),
        ["2026-01-01T00:01:00", "2026-01-01T00:02:00"]
    );
}

#[test]
fn five_fields_iff_exactly_five_and_any_count_but_five_and_six_is_refused() {
    assert_eq!(canonical("1 2 3 4 5"), "1 2 3 4 5");
    for (text, found) in [
        ("", 0),
        ("   ", 0),
        ("*", 1),
        ("* * * *", 4),
        ("* * * * * * *", 7),
    ] {
        assert_eq!(
            refusal(text).reason(),
            &Reason::FieldCount { found },
            "{text:?}"
        );
    }
}

#[test]
fn other_than_five_or_six_is_tried_as_a_time_span() {
    assert!(matches!("00:05:00".parse(), Ok(Schedule::Interval(_))));
    assert!(matches!("0 5 * * * *".parse(), Ok(Schedule::Crontab(_))));
}

#[test]
fn a_field_is_a_list_of_items() {
    assert_eq!(seconds("1,5,9"), "1,5,9");
    assert_eq!(seconds("9,1,5,1"), "1,5,9");
    assert_eq!(seconds("1-3,20/20,*/30"), "0-3,20,30,40");
}

#[test]
fn an_item_is_a_star_a_value_or_a_range_with_or_without_a_step() {
    assert_eq!(seconds("*"), "*");
    assert_eq!(seconds("7"), "7");
    assert_eq!(seconds("7-9"), "7-9");
    assert_eq!(seconds("*/20"), "0,20,40");
    assert_eq!(seconds("50/5"), "50,55");
    assert_eq!(seconds("10-20/5"), "10,15,20");
}

#[test]
fn ranges_of_the_fields() {
    assert_eq!(canonical("0-59 0-59 0-23 1-31 1-12 0-6"), "* * * * * *");
    let out = |text: &str| match refusal(text).reason() {
        Reason::OutOfRange { value, first, last } => (*value, *first, *last),
        other => panic!("{text}: {other}"),
    };
    assert_eq!(out("60 * * * * *"), (60, 0, 59));
    assert_eq!(out("* 60 * * * *"), (60, 0, 59));
    assert_eq!(out("* * 24 * * *"), (24, 0, 23));
    assert_eq!(out("* * * 0 * *"), (0, 1, 31));
    assert_eq!(out("* * * 32 * *"), (32, 1, 31));
    assert_eq!(out("* * * * 0 *"), (0, 1, 12));
    assert_eq!(out("* * * * 13 *"), (13, 1, 12));
    assert_eq!(out("* * * * * 1-8"), (8, 0, 6));
    assert_eq!(out("* * * * * 9/2"), (9, 0, 6));
}

#[test]
fn sunday_is_0() {
    assert_eq!(days_of_week("Sunday"), "0");
    assert_eq!(
        walls("0 0 * * 0", "2026-11-21T00:00:00", 1),
        ["2026-11-22T00:00:00"]
    );
}

#[test]
fn day_of_week_7_is_refused_and_the_error_says_that_sunday_is_0() {
    let error = refusal("* * * * 7").to_string();
    assert_eq!(
        error,
        "character 9, day of week: 7 is not between 0 and 6; Sunday is 0"
    );
    assert!(!refusal("* * * * 8").to_string().contains("Sunday"));
}

#[test]
fn names_only_in_month_and_day_of_week() {
    assert_eq!(months("March"), "3");
    assert_eq!(days_of_week("Friday"), "5");
    for text in [
        "Mon * * * * *",
        "* Mon * * * *",
        "* * Mon * * *",
        "* * * Mon * *",
    ] {
        let has_names = false;
        let text_read = "Mon".to_owned();
        let expected = Reason::NotAValue {
            text: text_read,
            has_names,
        };
        assert_eq!(refusal(text).reason(), &expected, "{text}");
    }
    assert!(matches!(
        refusal("* * * Mon *").reason(),
        Reason::NotAValue {
            has_names: true,
            ..
        }
    ));
    assert!(matches!(
        refusal("* * * * Dec").reason(),
        Reason::NotAValue {
            has_names: true,
            ..
        }
    ));
}

#[test]
fn a_name_is_any_prefix_of_the_full_name_in_any_case() {
    for prefix in ["F", "f", "FRI", "Frid", "fRiDaY"] {
        assert_eq!(days_of_week(prefix), "5", "{prefix}");
    }
    for prefix in ["S", "Sep", "SEPT", "september"] {
        assert_eq!(months(prefix), "9", "{prefix}");
    }
}

#[test]
fn the_first_name_that_matches_wins() {
    assert_eq!(months("J"), "1");
    assert_eq!(months("JU"), "6");
    assert_eq!(months("Jul"), "7");
    assert_eq!(months("A"), "4");
    assert_eq!(months("M"), "3");
    assert_eq!(months("Ma"), "3");
    assert_eq!(months("May"), "5");
    assert_eq!(days_of_week("M"), "1");
    assert_eq!(days_of_week("T"), "2");
    assert_eq!(days_of_week("Th"), "4");
    assert_eq!(days_of_week("S"), "0");
    assert_eq!(days_of_week("Sa"), "6");
}

#[test]
fn a_name_longer_than_the_full_one_is_refused() {
    assert!(matches!(
        refusal("* * * * Mondays").reason(),
        Reason::NotAValue { .. }
    ));
    assert!(matches!(
        refusal("* * * Mayo *").reason(),
        Reason::NotAValue { .. }
    ));
}

#[test]
fn names_mix_with_numbers_in_ranges_and_before_a_step() {
    assert_eq!(days_of_week("Mon,3,Fri"), "1,3,5");
    assert_eq!(days_of_week("Mon-4"), "1-4");
    assert_eq!(days_of_week("Mon-Fri/2"), "1,3,5");
    assert_eq!(days_of_week("Mon/2"), "1,3,5");
    assert_eq!(months("2-April,Dec"), "2-4,12");
}

#[test]
fn a_step_after_a_single_value_runs_to_the_end_of_the_field() {
    assert_eq!(seconds("45/5"), "45,50,55");
    assert_eq!(seconds("59/1"), "59");
    assert_eq!(months("10/1"), "10-12");
}

#[test]
fn a_step_of_zero_or_less_is_1() {
    for step in ["0", "-1", "-5", "-0", "-2147483648"] {
        assert_eq!(seconds(&format!("*/{step}")), "*", "{step}");
        assert_eq!(seconds(&format!("57/{step}")), "57-59", "{step}");
    }
}

#[test]
fn a_step_larger_than_the_range_leaves_the_first_value() {
    assert_eq!(seconds("*/60"), "0");
    assert_eq!(seconds("*/100"), "0");
    assert_eq!(seconds("10-20/11"), "10");
    assert_eq!(seconds("5/2147483647"), "5");
}

#[test]
fn a_reversed_range_is_swapped_not_wrapped() {
    assert_eq!(seconds("20-10/5"), "10,15,20");
    assert_eq!(days_of_week("Fri-Mon"), "1-5");
    assert_eq!(days_of_week("5-1"), "1-5");
}

#[test]
fn a_range_of_one_value_is_that_value() {
    assert_eq!(seconds("7-7"), "7");
    assert_eq!(seconds("7-7/3"), "7");
}

#[test]
fn leading_zeros_are_fine() {
    assert_eq!(canonical("007 05 00 01 01 00"), "7 5 0 1 1 0");
    assert_eq!(seconds("*/0020"), "0,20,40");
    assert_eq!(seconds("000000000000000000000000000059"), "59");
}

#[test]
fn signs_are_refused_at_the_start_of_a_value() {
    for field in ["+5", "-5", "+5-7", "-5-7", "5-+7", "5--7", "-", "+"] {
        assert_eq!(seconds_refused(field), Reason::Signed, "{field}");
    }
}

#[test]
fn signs_are_accepted_in_a_step() {
    assert_eq!(seconds("*/+20"), "0,20,40");
    assert_eq!(seconds("*/-20"), "*");
    assert!(matches!(
        seconds_refused("*/+-20"),
        Reason::NotAValue { .. }
    ));
    assert!(matches!(seconds_refused("*/+"), Reason::NotAValue { .. }));
}

#[test]
fn integers_beyond_32_bit_are_refused_as_too_large() {
    for field in [
        "2147483648",
        "1-99999999999",
        "*/2147483648",
        "*/-2147483649",
    ] {
        assert!(
            matches!(seconds_refused(field), Reason::TooLarge { .. }),
            "{field}"
        );
    }
    assert!(matches!(
        seconds_refused("2147483647"),
        Reason::OutOfRange { .. }
    ));
}

#[test]
fn an_item_may_not_be_empty() {
    for field in ["1,", ",1", "1,,2", ",", "1-", "1/", "/5", "1-/5", "*/,1"] {
        assert_eq!(seconds_refused(field), Reason::MissingValue, "{field}");
    }
}

#[test]
fn one_slash_and_one_dash_per_item() {
    for field in ["1/2/3", "*/2/3", "1//2"] {
        assert_eq!(seconds_refused(field), Reason::SecondSlash, "{field}");
    }
    for field in ["1-2-3", "1-2-", "1-2-3/4"] {
        assert_eq!(seconds_refused(field), Reason::SecondDash, "{field}");
    }
    assert!(matches!(seconds_refused("1/2-3"), Reason::NotAValue { .. }));
    assert_eq!(seconds("1-2,3-4,5/50,6/50"), "1-6,55-56");
}

#[test]
fn question_mark_l_w_and_hash_are_not_supported() {
    for (text, sign) in [
        ("0 0 0 ? * *", '?'),
        ("0 0 0 L * *", 'L'),
        ("0 0 0 LW * *", 'L'),
        ("0 0 0 15W * *", 'W'),
        ("0 0 0 * * 5L", 'L'),
        ("0 0 0 * * 5#2", '#'),
        ("0 0 0 * * Fri#2", '#'),
    ] {
        assert_eq!(refusal(text).reason(), &Reason::Foreign(sign), "{text}");
    }
}

#[test]
fn macros_are_not_supported() {
    for text in ["@hourly", "@daily", "@reboot", "@every 5m"] {
        assert_eq!(refusal(text).reason(), &Reason::Macro, "{text}");
    }
}

#[test]
fn a_year_is_not_supported() {
    let seven = refusal("0 0 0 1 1 * 2027");
    assert_eq!(seven.reason(), &Reason::FieldCount { found: 7 });
    assert_eq!(seven.span(), 12..16);
}

#[test]
fn characters_of_other_scripts_are_refused() {
    for field in ["٥", "５", "*/٥", "é", "１-2"] {
        assert!(
            matches!(seconds_refused(field), Reason::NotAValue { .. }),
            "{field}"
        );
    }
    assert!(matches!(
        refusal("* * * * Mö").reason(),
        Reason::NotAValue { .. }
    ));
    assert_eq!(refusal("0\u{a0}0 * * * *").reason(), &Reason::NotASpace);
}
