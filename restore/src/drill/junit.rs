//! A drill's report as JUnit XML: one suite a drill, one case a check.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::report::DrillReport;

/// A drill that could not be carried out: its name, and why.
pub type FailedDrill = (String, String);

/// Writes the reports of several drills, and those that could not be carried out, as one document.
///
/// # Errors
/// A sentence when the document cannot be written; never in practice.
pub fn render_junit(reports: &[DrillReport], broken: &[FailedDrill]) -> Result<String, String> {
    let mut document = Report::new("reprise drill");
    for report in reports {
        let mut suite = TestSuite::new(report.drill.clone());
        suite.set_timestamp(report.started.fixed_offset());
        suite.set_time(Duration::from_secs_f64(report.recovery_seconds));
        for (name, value) in report_properties(report) {
            suite.add_property((name, value.as_str()));
        }
        for check in &report.checks {
            let status = if check.passed {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(check.detail.clone());
                status
            };
            let mut case = TestCase::new(check.name.clone(), status);
            case.set_classname(format!("drill.{}", report.source));
            case.set_time(Duration::from_secs_f64(check.seconds));
            if check.passed {
                case.set_system_out(check.detail.clone());
            }
            suite.add_test_case(case);
        }
        document.add_test_suite(suite);
    }
    for (name, reason) in broken {
        let mut suite = TestSuite::new(name.clone());
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(reason.clone());
        suite.add_test_case(TestCase::new("carried out", status));
        document.add_test_suite(suite);
    }
    document.to_string().map_err(|error| error.to_string())
}

fn report_properties(report: &DrillReport) -> [(&'static str, String); 6] {
    [
        ("snapshot", report.snapshot.clone()),
        ("data_time", report.data_time.to_rfc3339()),
        ("verdict", report.verdict.to_string()),
        ("restore_seconds", format!("{:.3}", report.restore_seconds)),
        (
            "recovery_seconds",
            format!("{:.3}", report.recovery_seconds),
        ),
        (
            "data_loss_seconds",
            format!("{:.3}", report.data_loss_seconds),
        ),
    ]
}
