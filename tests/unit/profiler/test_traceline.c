/* Samples of tracepoints as lines. The formats are those of Linux 6.18, shortened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <stdio.h>
#include <cmocka.h>

#include "profiler/traceline.h"

#define COMMON                                                                         \
	"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"         \
	"\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"         \
	"\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n" \
	"\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"

static const char pio_format[] =
	"name: kvm_pio\nID: 1842\nformat:\n" COMMON
	"\tfield:unsigned int rw;\toffset:8;\tsize:4;\tsigned:0;\n"
	"\tfield:unsigned int port;\toffset:12;\tsize:4;\tsigned:0;\n\n"
	"print fmt: \"pio_%s at 0x%x\", REC->rw ? \"write\" : \"read\", REC->port\n";

/* kvm_inj_exception's, which libtraceevent 1.7 does not understand. */
static const char odd_format[] =
	"name: kvm_odd\nID: 1843\nformat:\n" COMMON
	"\tfield:unsigned int vector;\toffset:8;\tsize:4;\tsigned:0;\n"
	"\tfield:unsigned int code;\toffset:12;\tsize:4;\tsigned:0;\n\n"
	"print fmt: \"%s\", ({ static const struct { int a; } s[] = { { 1 }, { } }; foo(s); })\n";

static const char text_format[] = "name: kvm_text\nID: 1844\nformat:\n" COMMON
				  "\tfield:char text[8];\toffset:8;\tsize:8;\tsigned:0;\n\n"
				  "print fmt: \"said %s\", REC->text\n";

struct raw {
	uint16_t type;
	uint8_t flags, preempt;
	int32_t pid;
	uint32_t field[2];
};

static struct traceline *lines;
static struct buf out;

static int setup(void **state)
{
	(void)state;
	lines = traceline_create();
	buf_init(&out, 65536);
	traceline_add(lines, "kvm", pio_format, sizeof(pio_format) - 1);
	traceline_add(lines, "kvm", odd_format, sizeof(odd_format) - 1);
	traceline_add(lines, "kvm", text_format, sizeof(text_format) - 1);
	return lines ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	traceline_destroy(lines);
	buf_deinit(&out);
	return 0;
}

static const char *line(const struct raw *raw, const char *comm)
{
	struct trace_sample s = {.time = 5123123456789ULL,
				 .pid = 4700,
				 .tid = 4711,
				 .cpu = 2,
				 .size = sizeof(*raw),
				 .raw = raw};

	buf_clear(&out);
	assert_int_equal(traceline_format(lines, &s, comm, &out), 0);
	return out.data;
}

static void test_as_trace_pipe(void **state)
{
	struct raw raw = {1842, 0x01, 1, 4711, {1, 0x3f8}};

	(void)state;
	assert_string_equal(line(&raw, "CPU 0/KVM"),
			    "       CPU 0/KVM-4711    [002] d..1.  5123.123456: "
			    "kvm_pio: pio_write at 0x3f8\n");
}

static void test_raw_fields_of_what_cannot_be_parsed(void **state)
{
	struct raw raw = {1843, 0, 0, 4711, {13, 7}};
	const char *text;

	(void)state;
	text = line(&raw, "qemu");
	assert_non_null(strstr(text, "kvm_odd:"));
	assert_non_null(strstr(text, "vector=13"));
	assert_non_null(strstr(text, "code=7"));
}

static void test_an_unknown_event(void **state)
{
	struct raw raw = {999, 0, 0, 4711, {0, 0}};

	(void)state;
	assert_non_null(strstr(line(&raw, "qemu"), ": event 999: 16 bytes\n"));
}

static void test_control_characters(void **state)
{
	struct raw raw = {1844, 0, 0, 4711, {0}};
	const char *text;

	(void)state;
	memcpy(raw.field, "a\x1b[2J\nb", 8);
	text = line(&raw, "q\n\x1b[m");
	assert_non_null(strstr(text, "q\\x0a\\x1b[m-4711"));
	assert_non_null(strstr(text, "a\\x1b[2J\\x0ab"));
	assert_int_equal(strchr(text, '\n') - text, (ptrdiff_t)strlen(text) - 1);
}

/* -- decoding ------------------------------------------------------------------------------ */

static void test_decode(void **state)
{
	union {
		struct perf_event_header h;
		uint32_t words[16];
	} r = {.h = {.type = PERF_RECORD_SAMPLE, .size = 48}};
	struct trace_sample s;

	(void)state;
	r.words[2] = 4700;
	r.words[3] = 4711;
	r.words[4] = 99;
	r.words[6] = 3;
	r.words[8] = 12;
	r.words[9] = 1842;
	assert_int_equal(trace_sample_decode(&r.h, &s), 0);
	assert_int_equal(s.pid, 4700);
	assert_int_equal(s.tid, 4711);
	assert_int_equal(s.time, 99);
	assert_int_equal(s.cpu, 3);
	assert_int_equal(s.size, 12);
	assert_ptr_equal(s.raw, &r.words[9]);
	r.words[8] = 13; /* one byte more than there is */
	assert_int_equal(trace_sample_decode(&r.h, &s), -EBADMSG);
	r.words[8] = UINT32_MAX;
	assert_int_equal(trace_sample_decode(&r.h, &s), -EBADMSG);
	r.h.size = 32;
	assert_int_equal(trace_sample_decode(&r.h, &s), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_as_trace_pipe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raw_fields_of_what_cannot_be_parsed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_an_unknown_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_control_characters, setup, teardown),
		cmocka_unit_test(test_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
