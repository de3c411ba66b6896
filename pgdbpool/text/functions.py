"""Built-in functions (schema pg_catalog) by what they leave behind; headings as in chapter 9 of the manual.

In neither set, on purpose: what changes the session (set_config, setseed, advisory locks of the session, nextval,
currval, lastval, setval, lo_open and its kin, pg_replication_*), what runs a text (query_to_xml, ts_stat, ts_rewrite
and their kin), what reads the server's files, and what only PostgreSQL itself calls. The tests compare both sets with
the catalogs of real servers.
"""

from __future__ import annotations

__all__ = ["LEAVES_NOTHING", "READING"]

_AGGREGATE = """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every json_agg
    json_agg_strict json_object_agg json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict
    jsonb_agg jsonb_agg_strict jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict max min mode percentile_cont percentile_disc range_agg range_intersect_agg
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop
    stddev_samp string_agg sum var_pop var_samp variance xmlagg
"""
_WINDOW = "cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number"
_MATHEMATICS = """
    abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd cosh cot cotd
    degrees div erf erfc exp factorial floor gamma gcd lcm lgamma ln log log10 min_scale mod pi pow power radians
    random random_normal round scale sign sin sind sinh sqrt tan tand tanh trim_scale trunc width_bucket
"""
_TEXT = """
    ascii bit_length btrim casefold char_length character_length chr concat concat_ws convert convert_from convert_to
    decode encode format get_bit get_byte initcap is_normalized left length like like_escape lower lpad ltrim md5
    normalize notlike octet_length overlay parse_ident pg_client_encoding position quote_ident quote_literal
    quote_nullable regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace
    regexp_split_to_array regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim similar_escape
    similar_to_escape split_part starts_with string_to_array string_to_table strpos substr substring text textlen
    to_ascii to_bin to_hex to_oct translate unicode_assigned unistr upper
"""
_BYTES = "bit_count crc32 crc32c set_bit set_byte sha224 sha256 sha384 sha512"
_FORMATTING = "to_char to_date to_number to_timestamp"
_TIME = """
    age clock_timestamp date_add date_bin date_part date_subtract date_trunc isfinite justify_days justify_hours
    justify_interval make_date make_interval make_time make_timestamp make_timestamptz now overlaps pg_sleep
    pg_sleep_for pg_sleep_until statement_timestamp timeofday timezone transaction_timestamp
"""
_ENUM = "enum_first enum_last enum_range"
_GEOMETRY = """
    area bound_box box center circle diagonal diameter height isclosed ishorizontal isopen isparallel isperp
    isvertical line lseg npoints path pclose point polygon popen radius slope width
"""
_NETWORK = """
    abbrev broadcast family host hostmask inet_merge inet_same_family macaddr8_set7bit masklen netmask network
    set_masklen
"""
_TEXT_SEARCH = """
    array_to_tsvector get_current_ts_config json_to_tsvector jsonb_to_tsvector numnode phraseto_tsquery
    plainto_tsquery querytree setweight strip to_tsquery to_tsvector ts_debug ts_delete ts_filter ts_headline
    ts_lexize ts_parse ts_rank ts_rank_cd ts_token_type tsquery_phrase tsvector_to_array websearch_to_tsquery
"""
_UUID = "gen_random_uuid uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7"
_XML = """
    xml xml_is_well_formed xml_is_well_formed_content xml_is_well_formed_document xmlcomment xmltext xpath
    xpath_exists
"""
_JSON = """
    array_to_json json_array_elements json_array_elements_text json_array_length json_build_array json_build_object
    json_each json_each_text json_extract_path json_extract_path_text json_object json_object_keys
    json_populate_record json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_typeof
    jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
    jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys
    jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
    jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first jsonb_path_query_first_tz
    jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid jsonb_populate_recordset jsonb_pretty
    jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json
    to_jsonb
"""
_ARRAY = """
    array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_reverse array_sample array_shuffle array_sort array_to_string
    array_upper cardinality trim_array unnest
"""
_RANGE = """
    datemultirange daterange int4multirange int4range int8multirange int8range isempty lower_inc lower_inf multirange
    nummultirange numrange range_merge tsmultirange tsrange tstzmultirange tstzrange upper_inc upper_inf
"""
_SETS = "generate_series generate_subscripts num_nonnulls num_nulls"
_CASTS = """
    bool bpchar bytea cidr date float4 float8 int2 int4 int8 macaddr macaddr8 money name oid regclass timestamptz
    timetz varbit
"""
_SESSION = """
    current_database current_query current_schema current_schemas current_setting inet_client_addr inet_client_port
    inet_server_addr inet_server_port pg_backend_pid pg_blocking_pids pg_conf_load_time pg_jit_available
    pg_is_other_temp_schema pg_listening_channels pg_my_temp_schema pg_postmaster_start_time
    pg_safe_snapshot_blocking_pids pg_trigger_depth version
"""
_PRIVILEGE = """
    has_any_column_privilege has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege
    has_function_privilege has_language_privilege has_largeobject_privilege has_parameter_privilege
    has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege has_tablespace_privilege
    has_type_privilege pg_has_role row_security_active aclexplode acldefault makeaclitem
"""
_CATALOG = """
    col_description format_type obj_description pg_basetype pg_char_to_encoding pg_collation_is_visible
    pg_conversion_is_visible pg_describe_object pg_encoding_to_char pg_function_is_visible pg_get_constraintdef
    pg_get_expr pg_get_function_arg_default pg_get_function_arguments pg_get_function_identity_arguments
    pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords
    pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef pg_get_ruledef pg_get_serial_sequence
    pg_get_statisticsobjdef pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_identify_object
    pg_identify_object_as_address pg_index_column_has_property pg_index_has_property pg_indexam_has_property
    pg_input_error_info pg_input_is_valid pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible
    pg_options_to_table pg_partition_ancestors pg_partition_root pg_partition_tree pg_sequence_parameters
    pg_settings_get_flags pg_statistics_obj_is_visible pg_table_is_visible pg_tablespace_databases
    pg_tablespace_location pg_timezone_names pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
    pg_ts_template_is_visible pg_type_is_visible pg_typeof shobj_description to_regclass to_regcollation
    to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype to_regtypemod
"""
_SIZE = """
    pg_column_compression pg_column_size pg_database_size pg_indexes_size pg_relation_filenode pg_relation_filepath
    pg_relation_size pg_size_bytes pg_size_pretty pg_table_size pg_tablespace_size pg_total_relation_size
"""
_SNAPSHOT = """
    pg_current_snapshot pg_current_xact_id_if_assigned pg_is_in_recovery pg_snapshot_xip pg_snapshot_xmax
    pg_snapshot_xmin pg_visible_in_snapshot pg_wal_lsn_diff txid_current_if_assigned txid_current_snapshot
    txid_snapshot_xip txid_snapshot_xmax txid_snapshot_xmin txid_visible_in_snapshot
"""

# Changes that are over, or undone, at the end of the transaction, or that outlive it outside the session.
_CHANGES = """
    lo_create lo_from_bytea lo_get lo_put lo_unlink pg_advisory_xact_lock pg_advisory_xact_lock_shared
    pg_cancel_backend pg_current_xact_id pg_export_snapshot pg_notify pg_terminate_backend pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared txid_current
"""
# Changes nothing, but a standby answers otherwise than the primary, or refuses.
_OTHERWISE_ON_A_STANDBY = """
    pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn pg_last_committed_xact
    pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_notification_queue_usage
    pg_walfile_name pg_xact_commit_timestamp pg_xact_status txid_status
"""

READING = frozenset(
    " ".join(
        [
            *(_AGGREGATE, _WINDOW, _MATHEMATICS, _TEXT, _BYTES, _FORMATTING, _TIME, _ENUM, _GEOMETRY, _NETWORK),
            *(_TEXT_SEARCH, _UUID, _XML, _JSON, _ARRAY, _RANGE, _SETS, _CASTS, _SESSION, _PRIVILEGE, _CATALOG),
            *(_SIZE, _SNAPSHOT),
        ]
    ).split()
)
LEAVES_NOTHING = frozenset((_CHANGES + _OTHERWISE_ON_A_STANDBY).split())
