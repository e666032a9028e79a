// SPDX-License-Identifier: Apache-2.0
//
// Heads and trailers. http1_scan() only finds where a section ends (and refuses what can be refused
// early); the section is then parsed in one pass over its lines. Special headers are gathered in
// struct fields while lines are read; what they mean together is decided once, in framing_*().
#include "codec/http1/http1.h"

#include "base/memory.h"
#include "codec/http1/http1_internal.h"

static bool refuse(struct http1_problem *problem, int status, const char *reason)
{
    *problem = (struct http1_problem){.status = status, .reason = reason};
    return false;
}

// --- finding the end
// -------------------------------------------------------------------------------

// A first line that cannot become a request line is refused without waiting for its end: a TLS
// ClientHello or random bytes on a plaintext port.
static bool method_may_begin(struct str line)
{
    for (size_t i = 0; i < line.size && i <= HTTP1_METHOD_MAX; i++) {
        if (line.data[i] == ' ' && i > 0) {
            return true;
        }
        if (line.data[i] == '\r' && line.size == 1) {
            return true; // an empty line, perhaps
        }
        if (!http1_is(line.data[i], HTTP1_TOKEN)) {
            return false;
        }
    }
    return line.size <= HTTP1_METHOD_MAX;
}

static enum http1_result scan_incomplete(const struct http1_scan *scan, enum http1_section section,
                                         struct str bytes, const struct http1_limits *limits,
                                         struct http1_problem *problem)
{
    if (bytes.size - scan->start >= limits->head_bytes) {
        // Without one complete line it is the request target that is too long (RFC 9110 15.5.15).
        bool target = section == HTTP1_REQUEST_HEAD && scan->lines == 0;
        refuse(problem, target ? 414 : 431, target ? "request line too long" : "head too large");
        return HTTP1_BAD;
    }
    if (section == HTTP1_REQUEST_HEAD && scan->lines == 0 &&
        !method_may_begin(str_from(bytes, scan->start))) {
        refuse(problem, 400, "not an HTTP request");
        return HTTP1_BAD;
    }
    return HTTP1_MORE;
}

enum http1_result http1_scan(struct http1_scan *scan, enum http1_section section, struct str bytes,
                             const struct http1_limits *limits, struct http1_problem *ret_problem)
{
    while (scan->at < bytes.size) {
        const char *lf = memchr(bytes.data + scan->at, '\n', bytes.size - scan->at);
        if (lf == NULL) {
            scan->at = bytes.size;
            break;
        }
        size_t end = (size_t)(lf - bytes.data);
        scan->at = end + 1;
        if (end == scan->line_start || bytes.data[end - 1] != '\r') {
            refuse(ret_problem, 400, "line ends without CR"); // RFC 9112 section 2.2
            return HTTP1_BAD;
        }
        bool empty = end - scan->line_start == 1;
        scan->line_start = scan->at;
        if (scan->at - scan->start > limits->head_bytes) {
            bool target = section == HTTP1_REQUEST_HEAD && scan->lines == 0;
            refuse(ret_problem, target ? 414 : 431,
                   target ? "request line too long" : "head too large");
            return HTTP1_BAD;
        }
        if (empty && scan->lines == 0 && section != HTTP1_TRAILERS) {
            if (section == HTTP1_RESPONSE_HEAD || scan->start > 0) {
                refuse(ret_problem, 400, "empty line before the start line");
                return HTTP1_BAD;
            }
            scan->start = scan->at; // one is tolerated before a request
            continue;
        }
        if (empty) {
            return HTTP1_DONE;
        }
        scan->lines++;
        if (scan->lines > limits->header_count + 1) {
            refuse(ret_problem, 431, "too many headers");
            return HTTP1_BAD;
        }
    }
    return scan_incomplete(scan, section, bytes, limits, ret_problem);
}

// --- header lines
// ----------------------------------------------------------------------------------

struct lines {
    char *at;
    char *end;
};

// The next line without its CRLF; false behind the last one. The scan has checked each line end.
static bool next_line(struct lines *lines, char **ret_line, size_t *ret_size)
{
    if (lines->at >= lines->end) {
        return false;
    }
    char *lf = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
    if (lf == NULL || lf == lines->at || lf[-1] != '\r') {
        return false;
    }
    *ret_line = lines->at;
    *ret_size = (size_t)(lf - 1 - lines->at);
    lines->at = lf + 1;
    return true;
}

// What framing and routing headers said; counts tell repeated ones.
struct special {
    struct str host;
    struct str content_length;
    struct str transfer_encoding;
    struct str expect;
    struct str upgrade;
    struct str connection[HTTP1_CONNECTION_HEADERS_MAX];
    unsigned host_count;
    unsigned content_length_count;
    unsigned transfer_encoding_count;
    unsigned expect_count;
    unsigned upgrade_count;
    unsigned connection_count;
};

static bool parse_name(char *line, size_t size, size_t *ret_name_size,
                       struct http1_problem *problem)
{
    size_t at = 0;
    while (at < size && http1_is(line[at], HTTP1_TOKEN)) {
        line[at] = http1_lower(line[at]);
        at++;
    }
    if (at == size || line[at] != ':') {
        if (at == 0 && size > 0 && (line[0] == ' ' || line[0] == '\t')) {
            return refuse(problem, 400, "folded header line"); // RFC 9112 section 5.2
        }
        if (at < size && (line[at] == ' ' || line[at] == '\t')) {
            return refuse(problem, 400, "blank before colon"); // RFC 9112 section 5.1
        }
        return refuse(problem, 400, "malformed header name");
    }
    if (at == 0) {
        return refuse(problem, 400, "empty header name");
    }
    *ret_name_size = at;
    return true;
}

// Eight bytes at a time: a word without control bytes (below 0x20, or 0x7f) is a field value. A word with
// one may still be, because of tabs: the table decides.
static bool value_is_valid(const char *text, size_t size)
{
    const uint64_t ones = UINT64_MAX / 255;
    size_t at = 0;
    while (at < size) {
        size_t end = size;
        if (size - at >= sizeof(uint64_t)) {
            uint64_t word;
            memcpy(&word, text + at, sizeof(word));
            uint64_t without_delete = word ^ (ones * 0x7f);
            uint64_t flags = ((word - ones * 0x20) & ~word) | ((without_delete - ones) & ~without_delete);
            end = at + sizeof(word);
            if ((flags & (ones * 0x80)) == 0) {
                at = end;
                continue;
            }
        }
        for (; at < end; at++) {
            if (!http1_is(text[at], HTTP1_VALUE)) {
                return false;
            }
        }
    }
    return true;
}

static bool parse_value(const char *text, size_t size, struct str *ret_value,
                        struct http1_problem *problem)
{
    while (size > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        size--;
    }
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t')) {
        size--;
    }
    if (!value_is_valid(text, size)) {
        return refuse(problem, 400, "control character in header value"); // RFC 9110 section 5.5
    }
    *ret_value = str_make(text, size);
    return true;
}

static bool note_once(struct str *place, unsigned *count, struct str value)
{
    *place = value;
    (*count)++;
    return true;
}

// True: a header that framing owns and the head does not show.
static bool take_special(struct special *special, struct str name, struct str value)
{
    switch (name.size) {
    case 2:
        return str_equal(name, STR("te"));
    case 4:
        return str_equal(name, STR("host")) &&
               note_once(&special->host, &special->host_count, value);
    case 6:
        return str_equal(name, STR("expect")) &&
               note_once(&special->expect, &special->expect_count, value);
    case 7:
        return str_equal(name, STR("upgrade")) &&
               note_once(&special->upgrade, &special->upgrade_count, value);
    case 10:
        if (str_equal(name, STR("connection"))) {
            if (special->connection_count < HTTP1_CONNECTION_HEADERS_MAX) {
                special->connection[special->connection_count] = value;
            }
            special->connection_count++;
            return true;
        }
        return str_equal(name, STR("keep-alive"));
    case 14:
        if (str_equal(name, STR("content-length"))) {
            note_once(&special->content_length, &special->content_length_count, value);
            return false; // shown as well
        }
        return str_equal(name, STR("http2-settings"));
    case 16:
        return str_equal(name, STR("proxy-connection"));
    case 17:
        return str_equal(name, STR("transfer-encoding")) &&
               note_once(&special->transfer_encoding, &special->transfer_encoding_count, value);
    default:
        return false;
    }
}

static bool parse_headers(struct lines *lines, const struct http1_limits *limits,
                          struct http_head *head, struct special *special,
                          struct http1_problem *problem)
{
    unsigned count_max =
        limits->header_count < HTTP_HEADERS_MAX ? limits->header_count : HTTP_HEADERS_MAX;
    unsigned count = 0;
    char *line = NULL;
    size_t size = 0;
    while (next_line(lines, &line, &size) && size > 0) {
        size_t name_size = 0;
        struct str value;
        if (!parse_name(line, size, &name_size, problem) ||
            !parse_value(line + name_size + 1, size - name_size - 1, &value, problem)) {
            return false;
        }
        struct str name = str_make(line, name_size);
        if (++count > count_max) {
            return refuse(problem, 431, "too many headers");
        }
        if (!take_special(special, name, value)) {
            (void)http_head_add(head, name, value); // count_max keeps it within the array
        }
    }
    if (special->connection_count > HTTP1_CONNECTION_HEADERS_MAX) {
        return refuse(problem, 431, "too many connection headers");
    }
    return true;
}

// --- what the headers mean together
// ----------------------------------------------------------------

static struct str next_list_item(struct str *rest)
{
    return str_trim(str_split(rest, ','));
}

bool http1_list_has(struct str list, struct str token)
{
    struct str rest = list;
    while (rest.data != NULL) {
        if (str_equal_nocase(next_list_item(&rest), token)) {
            return true;
        }
    }
    return false;
}

static bool connection_has(const struct special *special, struct str token)
{
    for (unsigned i = 0; i < special->connection_count; i++) {
        if (http1_list_has(special->connection[i], token)) {
            return true;
        }
    }
    return false;
}

static void remove_nocase(struct http_head *head, struct str name)
{
    size_t kept = 0;
    for (size_t i = 0; i < head->header_count; i++) {
        if (!str_equal_nocase(head->headers[i].name, name)) {
            head->headers[kept++] = head->headers[i];
        }
    }
    head->header_count = kept;
}

// Headers named by `connection` are for this hop only (RFC 9110 section 7.6.1). Naming one that
// decides where a message ends or goes is an attack, not an option.
static bool remove_nominated(const struct special *special, struct http_head *head,
                             struct http1_problem *problem)
{
    for (unsigned i = 0; i < special->connection_count; i++) {
        struct str rest = special->connection[i];
        while (rest.data != NULL) {
            struct str option = next_list_item(&rest);
            if (option.size == 0 || str_equal_nocase(option, STR("close")) ||
                str_equal_nocase(option, STR("keep-alive")) ||
                str_equal_nocase(option, STR("upgrade"))) {
                continue;
            }
            if (str_equal_nocase(option, STR("content-length")) ||
                str_equal_nocase(option, STR("transfer-encoding")) ||
                str_equal_nocase(option, STR("host"))) {
                return refuse(problem, 400, "connection names a framing header");
            }
            remove_nocase(head, option);
        }
    }
    return true;
}

static bool parse_content_length(const struct special *special, uint64_t *ret_length,
                                 struct http1_problem *problem)
{
    if (special->content_length_count > 1) {
        return refuse(problem, 400, "repeated content-length"); // RFC 9112 section 6.3 rule 5
    }
    struct str text = special->content_length;
    uint64_t length = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || i >= 18) {
            return refuse(problem, 400, "malformed content-length");
        }
        length = length * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (text.size == 0) {
        return refuse(problem, 400, "malformed content-length");
    }
    *ret_length = length;
    return true;
}

// Reads transfer-encoding and content-length; message->body is NONE when there is neither.
static bool parse_framing(const struct special *special, struct http1_message *message,
                          struct http1_problem *problem)
{
    message->body = HTTP1_BODY_NONE;
    message->length = 0;
    if (special->transfer_encoding_count > 0) {
        if (message->version == 10) {
            return refuse(problem, 400, "transfer-encoding in HTTP/1.0"); // RFC 9112 section 6.1
        }
        if (special->content_length_count > 0) {
            return refuse(problem, 400,
                          "transfer-encoding and content-length"); // section 6.3 rule 3
        }
        if (special->transfer_encoding_count > 1) {
            return refuse(problem, 400, "repeated transfer-encoding");
        }
        if (!str_equal_nocase(special->transfer_encoding, STR("chunked"))) {
            struct str rest = special->transfer_encoding;
            struct str last = {0};
            unsigned chunked_count = 0;
            while (rest.data != NULL) {
                last = next_list_item(&rest);
                chunked_count += str_equal_nocase(last, STR("chunked")) ? 1 : 0;
            }
            bool known_end = chunked_count == 1 && str_equal_nocase(last, STR("chunked"));
            return known_end ? refuse(problem, 501, "unsupported transfer coding")
                             : refuse(problem, 400, "chunked is not the final transfer coding");
        }
        message->body = HTTP1_BODY_CHUNKED;
        return true;
    }
    if (special->content_length_count > 0) {
        if (!parse_content_length(special, &message->length, problem)) {
            return false;
        }
        message->body = message->length > 0 ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE;
    }
    return true;
}

static void parse_persistence(const struct special *special, struct http1_message *message)
{
    bool close = connection_has(special, STR("close"));
    message->keep_alive =
        message->version == 11 ? !close : !close && connection_has(special, STR("keep-alive"));
}

// --- request line
// ----------------------------------------------------------------------------------

static bool parse_version(struct str text, int *ret_version, struct http1_problem *problem)
{
    if (text.size != 8 || memcmp(text.data, "HTTP/", 5) != 0 || text.data[5] < '0' ||
        text.data[5] > '9' || text.data[6] != '.' || text.data[7] < '0' || text.data[7] > '9') {
        return refuse(problem, 400, "malformed HTTP version");
    }
    if (text.data[5] != '1') {
        return refuse(problem, 505, "HTTP version not supported");
    }
    // A higher minor version is to be read as the highest one known (RFC 9110 section 2.5).
    *ret_version = text.data[7] == '0' ? 10 : 11;
    return true;
}

static bool port_is_valid(struct str port)
{
    uint64_t number = 0;
    return port.size == 0 || (port.size <= 5 && str_to_u64(port, &number) && number <= 65535);
}

// host[:port] of RFC 3986; user information is refused (RFC 9110 section 4.2.4).
static bool authority_is_valid(struct str authority, bool port_required)
{
    size_t host = 0;
    if (authority.size > 0 && authority.data[0] == '[') {
        for (host = 1; host < authority.size && authority.data[host] != ']'; host++) {
            char c = authority.data[host];
            bool hex = (c >= '0' && c <= '9') || (http1_lower(c) >= 'a' && http1_lower(c) <= 'f');
            if (!hex && c != ':' && c != '.') {
                return false;
            }
        }
        if (host == authority.size || host == 1) {
            return false;
        }
        host++;
    } else {
        while (host < authority.size && http1_is(authority.data[host], HTTP1_NAME)) {
            host++;
        }
    }
    if (host == authority.size) {
        return !port_required;
    }
    struct str port = str_from(authority, host + 1);
    return authority.data[host] == ':' && host > 0 && port_is_valid(port) &&
           (!port_required || port.size > 0);
}

// "http://host/path" becomes authority and path. A target without path is given "/": the authority
// moves one place to the left, over the second slash of "//", which makes room for it.
static bool parse_absolute_form(char *target, size_t size, struct http_head *head,
                                struct http1_problem *problem)
{
    struct str whole = str_make(target, size);
    size_t prefix = str_equal_nocase(str_sub(whole, 0, 7), STR("http://"))    ? 7
                    : str_equal_nocase(str_sub(whole, 0, 8), STR("https://")) ? 8
                                                                              : 0;
    if (prefix == 0) {
        return refuse(problem, 400, "malformed request target");
    }
    size_t end = prefix;
    while (end < size && target[end] != '/' && target[end] != '?') {
        end++;
    }
    head->authority = str_make(target + prefix, end - prefix);
    if (end == prefix || !authority_is_valid(head->authority, false)) {
        return refuse(problem, 400, "malformed authority in request target");
    }
    if (end < size && target[end] == '/') {
        head->path = str_make(target + end, size - end);
        return true;
    }
    memmove(target + prefix - 1, target + prefix, end - prefix);
    target[end - 1] = '/';
    head->authority = str_make(target + prefix - 1, end - prefix);
    head->path = str_make(target + end - 1, size - end + 1);
    return true;
}

static bool parse_target(char *target, size_t size, struct http_head *head,
                         struct http1_problem *problem)
{
    for (size_t i = 0; i < size; i++) {
        if (!http1_is(target[i], HTTP1_TARGET)) {
            return refuse(problem, 400, "invalid character in request target");
        }
    }
    if (str_equal(head->method, STR("CONNECT"))) {
        head->authority = str_make(target, size);
        return authority_is_valid(head->authority, true)
                   ? true
                   : refuse(problem, 400, "CONNECT needs host:port");
    }
    if (target[0] == '/') {
        head->path = str_make(target, size);
        return true;
    }
    if (size == 1 && target[0] == '*') {
        head->path = str_make(target, size);
        return str_equal(head->method, STR("OPTIONS"))
                   ? true
                   : refuse(problem, 400, "request target * is for OPTIONS");
    }
    return parse_absolute_form(target, size, head, problem);
}

static bool parse_request_line(char *line, size_t size, struct http_head *head,
                               struct http1_message *message, struct http1_problem *problem)
{
    size_t method = 0;
    while (method < size && http1_is(line[method], HTTP1_TOKEN)) {
        method++;
    }
    if (method == 0 || method > HTTP1_METHOD_MAX || method == size || line[method] != ' ') {
        return refuse(problem, 400, "malformed method");
    }
    head->method = str_make(line, method);
    char *target = line + method + 1;
    char *end = memchr(target, ' ', size - method - 1);
    if (end == NULL || end == target) {
        return refuse(problem, 400, "malformed request line"); // HTTP/0.9 included
    }
    struct str version = str_make(end + 1, (size_t)(line + size - end - 1));
    return parse_version(version, &message->version, problem) &&
           parse_target(target, (size_t)(end - target), head, problem);
}

static bool parse_host(const struct special *special, const struct http1_message *message,
                       struct http_head *head, struct http1_problem *problem)
{
    if (special->host_count > 1) {
        return refuse(problem, 400, "repeated host"); // RFC 9112 section 3.2
    }
    if (special->host_count == 0 && message->version == 11) {
        return refuse(problem, 400, "host is missing");
    }
    if (special->host_count == 1 && !authority_is_valid(special->host, false)) {
        return refuse(problem, 400, "malformed host");
    }
    if (head->authority.data == NULL) {
        head->authority = special->host; // else the target's wins (RFC 9112 section 3.2.2)
    }
    return true;
}

static bool parse_expect(const struct special *special, struct http1_message *message,
                         struct http1_problem *problem)
{
    message->expect_continue = false;
    if (special->expect_count == 0 || message->version == 10) {
        return true; // HTTP/1.0 cannot expect (RFC 9110 section 10.1.1)
    }
    if (special->expect_count > 1 || !str_equal_nocase(special->expect, STR("100-continue"))) {
        return refuse(problem, 417, "unknown expectation");
    }
    message->expect_continue = true;
    return true;
}

bool http1_parse_request(char *bytes, size_t size, const struct http1_limits *limits,
                         struct http_head *head, struct http1_message *message,
                         struct http1_problem *ret_problem)
{
    struct lines lines = {.at = bytes, .end = bytes + size};
    struct special special = {0};
    char *line = NULL;
    size_t line_size = 0;
    http_head_init_request(head, (struct str){0}, (struct str){0}, (struct str){0},
                           (struct str){0});
    if (!next_line(&lines, &line, &line_size)) {
        return refuse(ret_problem, 400, "malformed request line");
    }
    if (!parse_request_line(line, line_size, head, message, ret_problem) ||
        !parse_headers(&lines, limits, head, &special, ret_problem) ||
        !parse_host(&special, message, head, ret_problem) ||
        !parse_framing(&special, message, ret_problem) ||
        !parse_expect(&special, message, ret_problem) ||
        !remove_nominated(&special, head, ret_problem)) {
        return false;
    }
    parse_persistence(&special, message);
    if (special.upgrade_count > 0 && message->version == 11 &&
        connection_has(&special, STR("upgrade")) && !http1_list_has(special.upgrade, STR("h2c"))) {
        head->upgrade =
            special.upgrade; // h2c by upgrade is obsolete (RFC 9113 section 3.1): ignored
    }
    if (str_equal(head->method, STR("CONNECT"))) {
        if (special.content_length_count > 0 || special.transfer_encoding_count > 0) {
            return refuse(ret_problem, 400, "CONNECT with a body");
        }
        message->body = HTTP1_BODY_TUNNEL;
        head->upgrade = (struct str){0};
    }
    return true;
}

// --- responses
// -------------------------------------------------------------------------------------

static bool parse_status_line(struct str line, struct http_head *head,
                              struct http1_message *message, struct http1_problem *problem)
{
    if (line.size < 12 || line.data[8] != ' ') {
        return refuse(problem, 502, "malformed status line");
    }
    if (!parse_version(str_sub(line, 0, 8), &message->version, problem)) {
        problem->status = 502;
        return false;
    }
    const char *digits = line.data + 9;
    for (size_t i = 0; i < 3; i++) {
        if (digits[i] < '0' || digits[i] > '9') {
            return refuse(problem, 502, "malformed status code");
        }
        head->status = head->status * 10 + (digits[i] - '0');
    }
    // The blank before an empty reason is often forgotten and nothing depends on it.
    if (head->status < 100 || (line.size > 12 && line.data[12] != ' ')) {
        return refuse(problem, 502, "malformed status code");
    }
    for (size_t i = 12; i < line.size; i++) {
        if (!http1_is(line.data[i], HTTP1_VALUE)) {
            return refuse(problem, 502, "control character in reason phrase");
        }
    }
    return true;
}

// RFC 9112 section 6.3 for responses.
static bool parse_response_framing(const struct special *special, struct str request_method,
                                   struct http_head *head, struct http1_message *message,
                                   struct http1_problem *problem)
{
    bool connected = str_equal(request_method, STR("CONNECT")) && head->status / 100 == 2;
    if (connected) {
        http_head_remove(head, STR("content-length"));
        message->body = HTTP1_BODY_TUNNEL;
        return true;
    }
    if (!parse_framing(special, message, problem)) {
        problem->status = 502;
        return false;
    }
    if (head->status == 101) {
        if (special->upgrade_count == 0 || !connection_has(special, STR("upgrade"))) {
            return refuse(problem, 502, "101 without upgrade");
        }
        head->upgrade = special->upgrade;
        message->body = HTTP1_BODY_TUNNEL;
        return true;
    }
    if (head->status < 200 || head->status == 204) {
        if (special->transfer_encoding_count > 0 || message->length > 0) {
            return refuse(problem, 502, "body announced where there is none"); // RFC 9110 8.6
        }
        http_head_remove(head, STR("content-length"));
        message->body = HTTP1_BODY_NONE;
        return true;
    }
    if (head->status == 304 || str_equal(request_method, STR("HEAD"))) {
        message->body = HTTP1_BODY_NONE;
        return true;
    }
    if (special->transfer_encoding_count == 0 && special->content_length_count == 0) {
        message->body = HTTP1_BODY_UNTIL_CLOSE;
        message->keep_alive = false;
    }
    return true;
}

bool http1_parse_response(char *bytes, size_t size, const struct http1_limits *limits,
                          struct str request_method, struct http_head *head,
                          struct http1_message *message, struct http1_problem *ret_problem)
{
    struct lines lines = {.at = bytes, .end = bytes + size};
    struct special special = {0};
    char *line = NULL;
    size_t line_size = 0;
    http_head_init_response(head, 0);
    message->expect_continue = false;
    if (!next_line(&lines, &line, &line_size)) {
        return refuse(ret_problem, 502, "malformed status line");
    }
    if (!parse_status_line(str_make(line, line_size), head, message, ret_problem)) {
        return false;
    }
    if (!parse_headers(&lines, limits, head, &special, ret_problem) ||
        !remove_nominated(&special, head, ret_problem)) {
        ret_problem->status = 502;
        return false;
    }
    parse_persistence(&special, message);
    return parse_response_framing(&special, request_method, head, message, ret_problem);
}

// --- trailers
// --------------------------------------------------------------------------------------

bool http1_parse_trailers(char *bytes, size_t size, const struct http1_limits *limits,
                          struct http_head *trailers, struct http1_problem *ret_problem)
{
    static const struct str forbidden[] = {
        {"content-length", 14},   {"authorization", 13}, {"content-encoding", 16},
        {"content-type", 12},     {"content-range", 13}, {"cache-control", 13},
        {"max-forwards", 12},     {"set-cookie", 10},    {"trailer", 7},
        {"www-authenticate", 16},
    };
    struct lines lines = {.at = bytes, .end = bytes + size};
    struct special special = {0};
    http_head_init_response(trailers, 0);
    if (!parse_headers(&lines, limits, trailers, &special, ret_problem)) {
        return false;
    }
    for (size_t i = 0; i < array_count(forbidden); i++) {
        http_head_remove(trailers, forbidden[i]);
    }
    return true;
}
