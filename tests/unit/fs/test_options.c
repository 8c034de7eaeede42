/* The command line and the configuration file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "fs/options.h"
#include "symsrc/base/io.h"
#include <fcntl.h>

static struct options o;
static struct errmsg why;

static int set_up(void **state)
{
	(void)state;
	options_init(&o);
	why = (struct errmsg){0};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	options_deinit(&o);
	return 0;
}

#define ARGS_MAX 40

/* The words of line, with this text as the default configuration file (NULL: none). */
static int parse_with(const char *config, const char *line)
{
	char file[] = "/tmp/kvmprofs-test.XXXXXX", copy[512], *save = NULL;
	char *argv[ARGS_MAX + 1] = {(char[]){"kvmprofs"}};
	int argc = 1, r, fd = -1;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w && argc < ARGS_MAX;
	     w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	if (config) {
		fd = mkstemp(file);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, config, strlen(config)), (ssize_t)strlen(config));
		close(fd);
	}
	r = options_parse(&o, argc, argv, config ? file : "/nonexistent/kvmprofs.conf", &why);
	if (config)
		unlink(file);
	return r;
}

static int parse(const char *line)
{
	return parse_with(NULL, line);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse("/mnt"), 0);
	assert_string_equal(o.mountpoint, "/mnt");
	assert_false(o.foreground);
	assert_int_equal(o.freq, 997);
	assert_false(o.freq_given);
	assert_int_equal(o.sampler, SAMPLER_AUTO);
	assert_int_equal(o.exits, EXITS_BY_AUTO);
	assert_string_equal(o.live_only, "");
	assert_null(o.event);
	assert_int_equal(o.rule_count, 0);
	assert_int_equal(o.pid_count, 0);
	assert_int_equal(o.symbols_mode, 0);
}

static void test_all_of_them(void **state)
{
	(void)state;
	assert_int_equal(parse("-f -e cycles -F 99 --sampler qmp -s web*=dir:/x /mnt "
			       "--source=7=auto -p 12 --pid 13 -o allow_other,ro -o "
			       "symbols_mode=0440,gid=12 -i perf.data"),
			 0);
	assert_true(o.foreground);
	assert_string_equal(o.event, "cycles");
	assert_int_equal(o.freq, 99);
	assert_true(o.freq_given);
	assert_int_equal(o.sampler, SAMPLER_QMP);
	assert_string_equal(o.live_only, "--freq, --sampler");
	assert_int_equal(o.rule_count, 2);
	assert_string_equal(o.rules[0].pattern, "web*");
	assert_string_equal(o.rules[0].uri, "dir:/x");
	assert_string_equal(o.rules[1].pattern, "7");
	assert_string_equal(o.rules[1].uri, "auto");
	assert_int_equal(o.pid_count, 2);
	assert_int_equal(o.pids[1], 13);
	assert_string_equal(o.fuse_options, "allow_other,ro");
	assert_int_equal(o.symbols_mode, 0440);
	assert_int_equal(o.gid, 12);
	assert_string_equal(o.input, "perf.data");
	assert_string_equal(o.mountpoint, "/mnt");
}

static void test_debug_stays_in_the_foreground(void **state)
{
	(void)state;
	assert_int_equal(parse("-d /mnt"), 0);
	assert_true(o.foreground && o.debug);
}

/* Nothing else counts then, so that help is to be had from a wrong command line too. */
static void test_help_and_version(void **state)
{
	(void)state;
	assert_int_equal(parse("--help -F x"), 0);
	assert_true(o.help);
	assert_int_equal(parse("-V"), 0);
	assert_true(o.version);
}

static void assert_wrong(const char *line, const char *what)
{
	options_deinit(&o);
	assert_int_equal(options_exit_status(parse(line)), 2);
	if (!strstr(why.text, what))
		fail_msg("'%s' says: %s", line, why.text);
	assert_null(strchr(why.text, '\n'));
}

static void test_wrong_usage(void **state)
{
	(void)state;
	assert_wrong("", "no mount point");
	assert_wrong("/a /b", "more than one mount point: '/a' and '/b'");
	assert_wrong("--foo /mnt", "'--foo'");
	assert_wrong("-x /mnt", "'-x'");
	assert_wrong("/mnt -F", "'-F' needs a value");
	assert_wrong("/mnt --freq", "'--freq' needs a value");
	assert_wrong("--foreground=1 /mnt", "'--foreground=1' takes no value");
	assert_wrong("-F 0 /mnt", "'0' is no frequency");
	assert_wrong("-F 99x /mnt", "'99x' is no frequency");
	assert_wrong("-F -1 /mnt", "'-1' is no frequency");
	assert_wrong("-F 100001 /mnt", "is no frequency");
	assert_wrong("--sampler foo /mnt", "'foo' is no sampler");
	assert_wrong("--exits foo /mnt", "'foo' is nothing that counts exits");
	assert_wrong("-p 0 /mnt", "'0' is no pid");
	assert_wrong("-p -5 /mnt", "'-5' is no pid");
	assert_wrong("-s foo /mnt", "'foo' is no source");
	assert_wrong("-s =auto /mnt", "is no source");
	assert_wrong("-s x=gopher://x /mnt", "gopher");
	assert_wrong("-o symbols_mode=0666 /mnt", "symbols_mode=0666");
	assert_wrong("-o symbols_mode=044 /mnt", "symbols_mode=044");
	assert_wrong("-o symbols_mode=x /mnt", "symbols_mode=x");
	assert_wrong("-o gid=no-such-group /mnt", "no-such-group");
	assert_wrong("-e  /mnt", "no mount point");
	assert_wrong("--event= /mnt", "'' is no event");
	assert_wrong("--input= /mnt", "'' is no recording");
	assert_wrong("-i a -i b /mnt", "--input a and --input b: one recording");
}

static void test_an_event_is_one_word(void **state)
{
	char *argv[] = {(char[]){"kvmprofs"}, (char[]){"-e"}, (char[]){"two words"},
			(char[]){"/mnt"}, NULL};

	(void)state;
	assert_int_equal(options_parse(&o, 4, argv, NULL, &why), -EINVAL);
}

static void test_config(void **state)
{
	(void)state;
	assert_int_equal(parse_with("# comment\n\n"
				    "  freq 500\n"
				    "event=cycles\n"
				    "sampler = perf\n"
				    "exits = perf\n"
				    "foreground\r\n"
				    "source *=auto\n"
				    "source web=dir:/with blank\n"
				    "pid 7\n"
				    "options allow_other",
				    "/mnt"),
			 0);
	assert_int_equal(o.freq, 500);
	assert_true(o.freq_given);
	assert_string_equal(o.event, "cycles");
	assert_int_equal(o.sampler, SAMPLER_PERF);
	assert_int_equal(o.exits, EXITS_BY_PERF);
	assert_true(o.foreground);
	assert_int_equal(o.rule_count, 2);
	assert_string_equal(o.rules[0].pattern, "*");
	assert_string_equal(o.rules[1].uri, "dir:/with blank");
	assert_int_equal(o.pid_count, 1);
	assert_string_equal(o.fuse_options, "allow_other");
}

static void test_the_command_line_wins(void **state)
{
	(void)state;
	assert_int_equal(parse_with("freq 500\nevent cycles\nsource *=dir:/file\npid 7\npid 8\n"
				    "options ro",
				    "-F 99 -s a=dir:/first -s b=dir:/second -p 9 -o rw /mnt"),
			 0);
	assert_int_equal(o.freq, 99);
	assert_true(o.freq_given);
	assert_string_equal(o.event, "cycles");
	assert_int_equal(o.rule_count, 3);
	assert_string_equal(o.rules[0].pattern, "a");
	assert_string_equal(o.rules[1].pattern, "b");
	assert_string_equal(o.rules[2].pattern, "*");
	assert_int_equal(o.pid_count, 1);
	assert_int_equal(o.pids[0], 9);
	/* The later one wins in libfuse. */
	assert_string_equal(o.fuse_options, "ro,rw");
}

static void assert_wrong_config(const char *text, const char *what)
{
	options_deinit(&o);
	assert_int_equal(options_exit_status(options_parse_config(&o, "f.conf", text, &why)), 2);
	if (strncmp(why.text, what, strlen(what)) != 0)
		fail_msg("'%s' says: %s", text, why.text);
}

static void test_malformed_lines(void **state)
{
	(void)state;
	assert_wrong_config("freq 99\n\nfoo 1\n", "f.conf:3: unknown option 'foo'");
	assert_wrong_config("freq\n", "f.conf:1: option 'freq' needs a value: HZ");
	assert_wrong_config("freq=\n", "f.conf:1: option 'freq' needs a value: HZ");
	assert_wrong_config("#\nfreq x", "f.conf:2: 'x' is no frequency");
	assert_wrong_config("foreground yes", "f.conf:1: option 'foreground' takes no value");
	assert_wrong_config("config /etc/x", "f.conf:1: unknown option 'config'");
	assert_wrong_config("help", "f.conf:1: unknown option 'help'");
	assert_wrong_config("= 3", "f.conf:1: unknown option ''");
	assert_wrong_config("source *=gopher:x", "f.conf:1: ");
	assert_wrong_config("\x1b[2J", "f.conf:1: unknown option '\\x1b[2J'");
}

static void test_a_config_that_is_not_there(void **state)
{
	(void)state;
	assert_int_equal(options_exit_status(parse("--config /nonexistent/x /mnt")), 1);
	assert_non_null(strstr(why.text, "/nonexistent/x"));
	assert_int_equal(options_exit_status(parse("--config / /mnt")), 1);
	assert_non_null(strstr(why.text, "not a regular file"));
}

static void test_help_names_every_option(void **state)
{
	char word[64];
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	options_help(&b);
	assert_int_equal(b.err, 0);
	for (size_t i = 0; options_name(i); i++) {
		snprintf(word, sizeof(word), "--%s", options_name(i));
		assert_non_null(strstr(b.data, word));
	}
	buf_deinit(&b);
}

/* The manual and the completion know every option too. */
static void assert_documented(const char *path, const char *dash)
{
	char word[64];
	struct buf b;

	buf_init(&b, 1u << 20);
	if (io_read_file(AT_FDCWD, path, &b) < 0) {
		print_message("%s is not here: run it in the source tree\n", path);
		skip();
	}
	for (size_t i = 0; options_name(i); i++) {
		snprintf(word, sizeof(word), "%s%s", dash, options_name(i));
		if (!strstr(b.data, word))
			fail_msg("%s does not mention %s", path, word);
	}
	buf_deinit(&b);
}

static void test_manual(void **state)
{
	(void)state;
	assert_documented("fs/kvmprofs.8", "Fl -");
}

static void test_completion(void **state)
{
	(void)state;
	assert_documented("fs/kvmprofs.bash-completion", "--");
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_defaults),
		TEST(test_all_of_them),
		TEST(test_debug_stays_in_the_foreground),
		TEST(test_help_and_version),
		TEST(test_wrong_usage),
		TEST(test_an_event_is_one_word),
		TEST(test_config),
		TEST(test_the_command_line_wins),
		TEST(test_malformed_lines),
		TEST(test_a_config_that_is_not_there),
		TEST(test_help_names_every_option),
		TEST(test_manual),
		TEST(test_completion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
