/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a run leaves behind: its directory and the files in it, the report on stdout. Formats are
 * described in farline(1); each file carries a version.
 */
#ifndef EMU_OUTPUTS_H
#define EMU_OUTPUTS_H

#include <limits.h>
#include <stdio.h>

#include "emu/base/trace.h"
#include "emu/plan.h"
#include "emu/result.h"

enum { OUT_VERSION = 1, HISTORY_RECORDS_MAX = 100000 };

/* --- history -------------------------------------------------------------------------------- */

struct history; /* one NDJSON file being written */

/**
 * Opens a history for writing: the simulator writes DIR/history.ndjson, a node process writes
 * DIR/NODE.trace, which the outputs merge by time and remove. After HISTORY_RECORDS_MAX records the
 * rest is only counted.
 */
int history_open(const char *path, const struct plan *p, struct history **ret,
                 struct fl_errmsg *err);

/** A fl_trace_sink_fn; @arg: struct history. Bounded buffer; errors are kept for history_close. */
void history_sink(void *arg, const struct fl_trace_rec *rec);

/** Writes what is buffered now, before this process may be killed. */
void history_flush(struct history *h);

/** Flushes and closes. FL_EIO: not everything could be written. */
int history_close(struct history **h, struct fl_errmsg *err);

/** DIR/NODE.trace of all nodes into DIR/history.ndjson, ordered by time, unless that exists. */
int history_merge(const char *dir, const struct plan *p, struct fl_errmsg *err);

/** DIR/history.ndjson as Chrome trace events in @path, one track per node. */
int history_to_trace(const char *dir, const struct plan *p, const char *path,
                     struct fl_errmsg *err);

/* --- the run directory ---------------------------------------------------------------------- */

/** Written under a temporary name beside the final one and renamed when everything is there. */
struct out_dir {
    char path[PATH_MAX];
    char tmp[PATH_MAX];
    bool open;
};

/** Creates the temporary directory and proves that files can be written in it. FL_EINVAL: the
 * message names cause and remedy. */
int out_dir_begin(struct out_dir *d, const char *path, struct fl_errmsg *err);

/** Puts the directory in its place; an earlier run's directory of that name is replaced. */
int out_dir_commit(struct out_dir *d, struct fl_errmsg *err);

/** After a failure: what is in the node logs stays in PATH.failed/, and @err tells so. */
void out_dir_keep_logs(struct out_dir *d, struct fl_errmsg *err);

/** Removes what was written. Does nothing after a commit. */
void out_dir_abandon(struct out_dir *d);

/** Creates the directories above @path that do not exist. */
int out_parents(const char *path, struct fl_errmsg *err);

/** Writes a whole file or none: temporary name, then rename. */
int out_file(const char *path, const char *text, size_t len, struct fl_errmsg *err);

/* --- one judged run ------------------------------------------------------------------------- */

/** A run, or all variants of a scenario together (then @variants counts them). */
struct out_run {
    const struct plan *p;
    const char *variant; /* NULL: the scenario has none, or this is the whole */
    const struct result *r;
    enum emu_exit verdict;
    char why[512];
    uint16_t variants;
    char dir[PATH_MAX]; /* final place, for people */
};

const char *out_verdict_name(enum emu_exit e);

/** Name of the scenario: the file's name without directory and ".lua". */
void out_scenario_name(const struct plan *p, char *ret, size_t size);

/** verdict.json as text; free() it. NULL: out of memory. */
char *out_verdict_json(const struct out_run *o, bool pretty);

/** Writes verdict.json, run.json, metrics.json, junit.xml, report.html, history.ndjson, trace.json
 * in @dir. */
int out_write(const struct out_run *o, const char *dir, struct fl_errmsg *err);

/* Test cases of CI servers, whose class is an id ("W3", or "verdict"). */

enum out_case_state {
    OUT_CASE_OK,
    OUT_CASE_FAILED,
    OUT_CASE_UNDECIDED,
    OUT_CASE_SKIPPED,
    OUT_CASE_STATES
};

struct out_case {
    const char *id;
    char name[320];
    enum out_case_state state;
    char text[640];
};

/** Id, state and text of the case that stands for a run's verdict. */
void out_case_verdict(struct out_case *c, enum emu_exit verdict, const char *why);

/** Pieces of a JUnit file: begin, then suites with their cases and "  </testsuite>\n", end. */
void out_junit_begin(FILE *f);
void out_junit_suite(FILE *f, const char *name, const size_t by_state[OUT_CASE_STATES],
                     uint64_t duration_ns);
void out_junit_case(FILE *f, const struct out_case *c);
void out_junit_end(FILE *f);

/** One line of TAP; what would break it in the texts is replaced in @c. */
void out_tap_case(FILE *f, size_t number, struct out_case *c);

/** One test case per run and check, for CI servers. Returns the text; free() it. */
char *out_junit(const struct out_run *runs, size_t count);

/** Test Anything Protocol: one line per run and check. */
void out_tap(FILE *f, const struct out_run *runs, size_t count);

/** report.html: one self-contained page that a newcomer understands; free() it. */
char *out_html(const struct out_run *o);

/** Figures for people: "1 234 567", "12.17 MiB", "90.1 us". */
void out_count_text(double v, char *ret, size_t size);
void out_bytes_text(double v, char *ret, size_t size);
void out_time_text(double ns, char *ret, size_t size);

/** The report for people. */
void out_report(FILE *f, const struct out_run *o);

/** Table of the key figures of all variants. */
void out_report_variants(FILE *f, const struct out_run *runs, size_t count);

#endif
