/* What may be written to control. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/control.h"

static struct control_list list;
static struct errmsg why;

static int parse(const char *text)
{
	list.count = 0;
	why.text[0] = '\0';
	return control_parse(text, strlen(text), &list, &why);
}

static void test_one_command(void **state)
{
	(void)state;
	assert_int_equal(parse("reset\n"), 0);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.command[0], CONTROL_RESET);
	assert_int_equal(parse("refresh"), 0);
	assert_int_equal(list.command[0], CONTROL_REFRESH);
	assert_int_equal(parse("  pause \r\n"), 0);
	assert_int_equal(list.command[0], CONTROL_PAUSE);
}

static void test_several_lines(void **state)
{
	(void)state;
	assert_int_equal(parse("reset\n\nresume\nrefresh"), 0);
	assert_int_equal(list.count, 3);
	assert_int_equal(list.command[1], CONTROL_RESUME);
	assert_int_equal(list.command[2], CONTROL_REFRESH);
}

static void test_nothing_is_asked_for(void **state)
{
	static const char *const empty[] = {"", "\n", "\n\n", " \t\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(empty) / sizeof(*empty); i++) {
		assert_int_equal(parse(empty[i]), 0);
		assert_int_equal(list.count, 0);
	}
}

static void test_arguments(void **state)
{
	static const char text[] = "pause\n\t trace  kvm_exit kvm:kvm_* \ntrace\n";

	(void)state;
	assert_int_equal(parse(text), 0);
	assert_int_equal(list.count, 3);
	assert_int_equal(list.arguments[0].n, 0);
	assert_int_equal(list.command[1], CONTROL_TRACE);
	assert_int_equal(list.arguments[1].n, strlen("kvm_exit kvm:kvm_*"));
	assert_memory_equal(list.arguments[1].text, "kvm_exit kvm:kvm_*", list.arguments[1].n);
	assert_int_equal(list.command[2], CONTROL_TRACE);
	assert_int_equal(list.arguments[2].n, 0);
	assert_int_equal(parse("tracekvm_exit"), -EINVAL);
}

static void test_nonsense(void **state)
{
	static const char *const wrong[] = {"rese",	    "resett",  "reset pause", "RESET",
					    "reset\nfoo\n", "re\nset", "\x1b[2J"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_equal(parse(wrong[i]), -EINVAL);
		assert_true(why.text[0]);
		/* Nothing of it was taken. */
		assert_int_equal(list.count, 0);
	}
}

static void test_a_nul_byte(void **state)
{
	(void)state;
	assert_int_equal(control_parse("reset\0", 6, &list, &why), -EINVAL);
	assert_int_equal(control_parse("reset\0\n", 7, &list, &why), -EINVAL);
}

static void test_too_much(void **state)
{
	static char text[CONTROL_WRITE_MAX + 1];

	(void)state;
	memset(text, ' ', sizeof(text));
	memcpy(text, "reset", 5);
	assert_int_equal(control_parse(text, CONTROL_WRITE_MAX, &list, &why), 0);
	assert_int_equal(control_parse(text, sizeof(text), &list, &why), -EINVAL);
	for (size_t i = 0; i + 6 <= CONTROL_WRITE_MAX; i += 6)
		memcpy(text + i, "reset\n", 6);
	assert_int_equal(control_parse(text, CONTROL_COMMANDS_MAX * 6, &list, &why), 0);
	assert_int_equal(list.count, CONTROL_COMMANDS_MAX);
	assert_int_equal(control_parse(text, (CONTROL_COMMANDS_MAX + 1) * 6, &list, &why), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_command),
		cmocka_unit_test(test_several_lines),
		cmocka_unit_test(test_nothing_is_asked_for),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_a_nul_byte),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
